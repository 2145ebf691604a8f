"""``undercroft release``: how a new route meets traffic, and how it goes again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict as as_dict
from pathlib import Path
from typing import Any

import click

from undercroft.cli.artifacts import as_dict as artifact_as_dict
from undercroft.cli.files import write
from undercroft.cli.main import State, print_json
from undercroft.cli.numbers import Finite

KEY = "UNDERCROFT_KEY"

_json = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
_reason = click.option("--reason", default="", help="Kept for ever.")


@click.group(epilog="Example:  undercroft release start    then:  undercroft release status --json")
def release() -> None:
    """Roll a new route out beside the live one, watch it, promote it or take it back."""


@release.command(
    epilog="Example:  undercroft release start route:docs@7 --steps 0.1,0.5 --shadow 50"
)
@click.argument("route", default="newest")
@click.option("--steps", help="Shares of the traffic, such as 0.05,0.25,0.5.  [rollout.steps]")
@click.option("--shadow", type=int, help="Requests it answers unseen first.")
@click.option("--pairs", type=int, help="Units in each arm before a step ends.")
@click.option("--minutes", type=float, help="Shortest time of a step.")
@_json
@click.pass_obj
def start(
    state: State, route: str, steps: str | None, shadow: int | None, pairs: int | None,
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
        "steps": _shares(steps) if steps else None,
        "shadow_requests": shadow, "step_pairs": pairs, "step_minutes": minutes,
    }  # fmt: skip
    settings = changed("rollout", project.settings.rollout, given, "release start")
    trial = rollout.start(project, route, _who(project), settings=settings)
    if as_json:
        print_json(rollout.status(project))
        return
    click.echo(f"{trial.canary} meets {trial.control}: {trial.reason}")
    if project.settings.store.ledger:
        click.echo(
            "The gateway of this folder tries and counts it; others that share the ledger go on "
            "serving the live route, and follow when one is promoted.", err=True,
        )  # fmt: skip
    click.echo("Watch it:  undercroft release status    End it:  undercroft release rollback")


@release.command(epilog="Example:  undercroft release change --adapter legal=acme,globex --now")
@click.option("--model", help="Serve another model.")
@click.option(
    "--adapter", "adapters", multiple=True, metavar="NAME[=KEY,…]",
    help="Hold this adapter beside the model, for these keys or tenants, or else for all.",
)  # fmt: skip
@click.option("--without", multiple=True, metavar="NAME", help="Hold this adapter no more.")
@click.option("--fallback", help="Model that answers what the other's engines cannot; '': none.")
@click.option("--now", is_flag=True, help="Make it live at once, without a rollout.")
@_reason
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
        compose.put_live(project, made, _who(project), reason)
    if as_json:
        print_json(artifact_as_dict(made))
        return
    click.echo(f"{made.ref} is {'live' if now else 'made'}.")
    if not now:
        click.echo(f"Let it meet traffic:  undercroft release start {made.ref}", err=True)


@release.command(epilog="Example:  undercroft release status --html rollout.html")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with pictures.")
@_json
@click.pass_obj
def status(state: State, html: Path | None, as_json: bool) -> None:
    """Say how the rollout stands: arms, measures, what it waits for."""
    from undercroft.release import rollout
    from undercroft.trials.report import as_html

    found = rollout.status(state.project())
    if html is not None and found is not None:
        write(html, as_html(found))
    if as_json:
        print_json(found)
    elif found is None:
        click.echo("There was no rollout yet. Start one with: undercroft release start")
    else:
        _show(found)


@release.command(epilog="Example:  undercroft release promote --reason 'agreed on Monday'")
@_reason
@_json
@click.pass_obj
def promote(state: State, reason: str, as_json: bool) -> None:
    """Serve the new route to everybody, now.

    Where rollout.approval is on, the environment's UNDERCROFT_KEY must hold an admin's key.
    """
    from undercroft.release import rollout

    project = state.project()
    trial = rollout.promote(project, _who(project), reason, os.environ.get(KEY, ""))
    if as_json:
        print_json(rollout.status(project))
        return
    click.echo(f"{trial.canary} is live.")


@release.command(epilog="Example:  undercroft release rollback --reason 'answers got shorter'")
@_reason
@_json
@click.pass_obj
def rollback(state: State, reason: str, as_json: bool) -> None:
    """Take the new route out of the traffic; without a rollout, go back to the route before."""
    from undercroft.release import rollout

    project = state.project()
    live, gone = rollout.undo(project, _who(project), reason)
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


@release.group(epilog="Example:  undercroft release abtest plan --rate 0.05 --change 0.02")
def abtest() -> None:
    """Compare two routes at equal shares; nothing is promoted by itself."""


@abtest.command(epilog="Example:  undercroft release abtest plan --rate 0.05 --change 0.02")
@click.option("--rate", type=Finite(0, 1), required=True, help="Of the live route.")
@click.option("--change", type=Finite(-1, 1), required=True, help="To be found.")
@click.option("--alpha", type=Finite(0, 1, True, True), default=0.05, show_default=True)
@click.option(
    "--share", type=Finite(0, 0.5, True), default=0.5, show_default=True,
    help="Of the traffic, for each arm.",
)  # fmt: skip
@_json
def plan(rate: float, change: float, alpha: float, share: float, as_json: bool) -> None:
    """Say how many units it takes to find a change, before the experiment is begun."""
    from undercroft.trials.power import plan as planned

    found = planned(rate, abs(change), alpha=alpha / 2, share=share)
    if as_json:
        print_json(as_dict(found))
        return
    click.echo(
        f"A change of {change * 100:+g} points from {rate:.1%} shows after {found.pairs:,} units "
        f"in each arm, as a rule: {found.units:,} units of traffic at {share:.0%} each."
    )


@abtest.command("start", epilog="Example:  undercroft release abtest start route:docs@7")
@click.argument("route", default="newest")
@click.option("--share", type=Finite(0, 0.5, True), default=0.5, show_default=True)
@_json
@click.pass_obj
def start_test(state: State, route: str, share: float, as_json: bool) -> None:
    """Compare ROUTE with the live one, each with the same share, until somebody ends it.

    Harm still rolls back.
    """
    from undercroft.config import changed
    from undercroft.release import rollout

    project = state.project()
    options = {"steps": [share], "shadow_requests": 0}
    settings = changed("rollout", project.settings.rollout, options, "release abtest start")
    trial = rollout.start(project, route, _who(project), kind="abtest", settings=settings)
    if as_json:
        print_json(rollout.status(project))
        return
    click.echo(f"{trial.canary} and {trial.control}, {share:.0%} of the traffic each.")
    click.echo(
        "Read it:  undercroft release abtest report    End it:  undercroft release abtest stop"
    )


@abtest.command(epilog="Example:  undercroft release abtest report --html test.html")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with pictures.")
@_json
@click.pass_context
def report(ctx: click.Context, html: Path | None, as_json: bool) -> None:
    """Say how the experiment stands, as `undercroft release status` does."""
    ctx.invoke(status, html=html, as_json=as_json)


@abtest.command(epilog="Example:  undercroft release abtest stop --reason 'no difference'")
@_reason
@_json
@click.pass_obj
def stop(state: State, reason: str, as_json: bool) -> None:
    """End the experiment; the live route stays."""
    from undercroft.release import rollout

    project = state.project()
    trial = rollout.stop(project, _who(project), reason)
    if as_json:
        print_json(rollout.status(project))
        return
    click.echo(f"Ended. {trial.control} is live.")


def _shares(said: str) -> list[float]:
    try:
        return [float(each) for each in said.split(",")]
    except ValueError:
        raise click.BadParameter(f"{said!r} are not numbers, such as 0.05,0.25,0.5") from None


def _adapter(said: str) -> tuple[str, list[str]]:
    name, _, owners = said.partition("=")
    return name, [each for each in owners.split(",") if each]


def _who(project: Any) -> str:
    """The name of the key in the environment, if there is one."""
    secret = os.environ.get(KEY, "")
    who = project.trust.keys.identify(secret) if secret else None
    return str(who.name) if who else "local"


def _show(found: Mapping[str, Any]) -> None:
    click.echo(f"{found['canary']} against {found['control']}: {found['status']}")
    click.echo(f"  {found['reason']}")
    units = ", ".join(f"{arm} {count:,}" for arm, count in found["units"].items())
    click.echo(f"  {found['share']:.0%} of the traffic each; units: {units or 'none yet'}")
    for each in found["standings"]:
        is_rate = each["measure"] not in ("latency", "cost")
        values = [
            f"{each[arm]:.2%}" if is_rate else f"{each[arm]:.3g}" for arm in ("control", "canary")
        ]
        said = "harm" if each["is_harm"] else "well" if each["is_safe"] else ""
        click.echo(f"  {each['measure']:10} {values[0]:>8} → {values[1]:>8}   {said}")
