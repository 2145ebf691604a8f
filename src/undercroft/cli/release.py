"""``undercroft release``: how a new route meets traffic, and how it goes again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict as as_dict
from pathlib import Path

import click

from undercroft.cli import standing
from undercroft.cli.abtest import abtest
from undercroft.cli.artifacts import as_dict as artifact_as_dict
from undercroft.cli.files import write
from undercroft.cli.main import State, print_json
from undercroft.cli.numbers import Finite
from undercroft.cli.who import KEY, reason_option, who

_json = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@click.group(epilog="Example:  undercroft release start    then:  undercroft release status --json")
def release() -> None:
    """Roll a new route out beside the live one, watch it, promote it or take it back."""


@release.command(
    epilog="Example:  undercroft release start route:docs@7 --steps 0.1,0.5 --shadow 50"
)
@click.argument("route", default="newest")
@click.option(
    "--steps", callback=lambda *given: _shares(given[-1]), metavar="SHARES",
    help="Of the traffic, such as 0.05,0.25,0.5; else rollout.steps.",
)  # fmt: skip
@click.option(
    "--shadow", type=click.IntRange(0),
    help="Requests it answers unseen first; else rollout.shadow_requests.",
)  # fmt: skip
@click.option(
    "--pairs", type=click.IntRange(1),
    help="Units in each arm before a step ends; else rollout.step_pairs.",
)  # fmt: skip
@click.option(
    "--minutes", type=Finite(0), help="Shortest time of a step; else rollout.step_minutes."
)
@_json
@click.pass_obj
def start(
    state: State, route: str, steps: list[float] | None, shadow: int | None, pairs: int | None,
    minutes: float | None, as_json: bool,
) -> None:  # fmt: skip
    """Give ROUTE (the newest, if none is named) a growing share of the traffic.

    The live route's control gets as large a share. Harm rolls back by itself; proof that nothing
    got worse promotes.
    """
    from undercroft.config import changed
    from undercroft.release import rollout

    project = state.project()
    given = {
        "steps": steps, "shadow_requests": shadow, "step_pairs": pairs, "step_minutes": minutes,
    }  # fmt: skip
    settings = changed("rollout", project.settings.rollout, given, "release start")
    trial = rollout.start(project, route, who(project), settings=settings)
    if as_json:
        print_json(rollout.status(project))
        return
    click.echo(f"{trial.canary} meets {trial.control}: {trial.reason}")
    standing.warn_if_silent(project)
    click.echo(
        "Watch it:  undercroft release status --watch    End it:  undercroft release rollback"
    )


@release.command(epilog="Example:  undercroft release change --adapter legal=acme,globex --now")
@click.option("--model", help="Serve another model.")
@click.option(
    "--adapter", "adapters", multiple=True, metavar="NAME[=KEY,…]",
    help="Hold this adapter beside the model, for these keys or tenants, or else for all.",
)  # fmt: skip
@click.option("--without", multiple=True, metavar="NAME", help="Hold this adapter no more.")
@click.option("--fallback", help="Model that answers what the other's engines cannot; '': none.")
@click.option("--now", is_flag=True, help="Make it live at once, without a rollout.")
@reason_option
@_json
@click.pass_obj
def change(
    state: State, model: str | None, adapters: Sequence[str], without: Sequence[str],
    fallback: str | None, now: bool, reason: str, as_json: bool,
) -> None:  # fmt: skip
    """Make a route from the live one by hand: another model, adapters of tenants, a fallback.

    Whoever asks the route gets the adapter that is for their key or tenant. An adapter is also
    asked for by name, as ROUTE+ADAPTER; one with owners, by them alone.
    """
    from undercroft.release import compose

    project = state.project()
    named = dict(_adapter(each) for each in adapters)
    asked = compose.Change(model, named, without, fallback)
    made = compose.changed(project, asked, reason)
    if now:
        compose.put_live(project, made, who(project), reason)
    if as_json:
        print_json(artifact_as_dict(made))
        return
    click.echo(f"{made.ref} is {'live' if now else 'made'}.")
    if not now:
        click.echo(f"Let it meet traffic:  undercroft release start {made.ref}", err=True)


@release.command(
    epilog="Examples:  undercroft release status --watch    undercroft release status --html r.html"
)
@click.option("--watch", is_flag=True, help="Go on until it is over; fails if it is rolled back.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with pictures.")
@_json
@click.pass_obj
def status(state: State, watch: bool, html: Path | None, as_json: bool) -> None:
    """Say how the rollout stands: arms, measures, what it waits for.

    Differences are the new route's; bounds and evidence hold however often they are looked at. At
    100 % of the evidence of harm that is needed it is rolled back.
    """
    from undercroft.errors import NotFound
    from undercroft.release import rollout
    from undercroft.trials.report import as_html

    project = state.project()
    found = rollout.status(project)
    if found is None:
        if html is not None or watch:
            raise NotFound("There was no rollout yet.", do="Start one: undercroft release start")
        none = "There was no rollout yet. Start one with: undercroft release start"
        print_json(None) if as_json else click.echo(none)
        return
    if html is not None:
        write(html, as_html(found))
    if watch:
        standing.warn_if_silent(project)
        standing.follow(lambda: rollout.status(project), as_json)
        return
    if as_json:
        print_json(found)
        return
    standing.show(found)
    if found["status"] in standing.OPEN:
        standing.warn_if_silent(project)
    if html is not None:
        click.echo(f"\nThe page is {html}.")


@release.command(epilog="Example:  undercroft release promote --reason 'agreed on Monday'")
@reason_option
@_json
@click.pass_obj
def promote(state: State, reason: str, as_json: bool) -> None:
    """Serve the new route to everybody, now.

    Where rollout.approval is on, the environment's UNDERCROFT_KEY must hold an admin's key.
    """
    from undercroft.release import rollout

    project = state.project()
    trial = rollout.promote(project, who(project), reason, os.environ.get(KEY, ""))
    if as_json:
        print_json(rollout.status(project))
        return
    click.echo(f"{trial.canary} is live.")


@release.command(epilog="Example:  undercroft release rollback --reason 'answers got shorter'")
@reason_option
@_json
@click.pass_obj
def rollback(state: State, reason: str, as_json: bool) -> None:
    """Take the new route out of the traffic; without a rollout, go back to the route before."""
    from undercroft.release import rollout

    project = state.project()
    live, gone = rollout.undo(project, who(project), reason)
    if as_json:
        print_json({"live": live, "withdrawn": gone})
        return
    click.echo(f"{live} is live; {gone} is not any more.")


@release.command(epilog="Example:  undercroft release history --limit 5 --json")
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="Newest first."
)
@_json
@click.pass_obj
def history(state: State, limit: int, as_json: bool) -> None:
    """List every decision on what is served, and why, the newest first."""
    ledger = state.project().ledger
    kinds = ("release", "rollout", "rollback")
    found = [each for kind in kinds for each in ledger.decisions(kind=kind, limit=limit)]
    newest = sorted(found, key=lambda each: each.at, reverse=True)[:limit]
    if as_json:
        print_json([as_dict(each) for each in newest])
        return
    if not newest:
        click.echo("Nothing was decided yet. Begin with: undercroft up FOLDER")
    for each in newest:
        click.echo(f"{each.at:%Y-%m-%d %H:%M}  {each.subject}  {each.verdict}, by {each.actor}")
        click.echo(f"                  {each.reason}")


def _shares(said: str | None) -> list[float] | None:
    if said is None:
        return None
    try:
        return [float(each) for each in said.split(",")]
    except ValueError:
        raise click.BadParameter(f"{said!r} are not numbers, such as 0.05,0.25,0.5") from None


def _adapter(said: str) -> tuple[str, list[str]]:
    name, _, owners = said.partition("=")
    return name, [each for each in owners.split(",") if each]


release.add_command(abtest)
