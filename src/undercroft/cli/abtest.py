"""``undercroft release abtest``: two routes at equal shares, planned before and read after."""

from __future__ import annotations

from dataclasses import asdict as as_dict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from undercroft.cli import standing
from undercroft.cli.files import write
from undercroft.cli.main import State, print_json
from undercroft.cli.numbers import Finite
from undercroft.cli.who import reason_option, who

if TYPE_CHECKING:
    from undercroft.project import Project
    from undercroft.trials.power import Plan

_json = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
_CHANGES = (0.01, 0.02, 0.05, 0.1)
_START = "Start one with: undercroft release abtest start"


@click.group(epilog="Example:  undercroft release abtest plan --rate 0.05 --change 0.02")
def abtest() -> None:
    """Compare two routes at equal shares; nothing is promoted by itself."""


@abtest.command(
    epilog="Example:  undercroft release abtest plan --rate 0.05 --change 0.02 --per-day 2000"
)
@click.option(
    "--rate", type=Finite(0, 1), required=True,
    help="Of the live route: errors, thumbs down, whatever is to change.",
)  # fmt: skip
@click.option(
    "--change", type=Finite(-1, 1),
    help="To be found, such as 0.02 for two points more; without it, several are shown.",
)  # fmt: skip
@click.option(
    "--alpha", type=Finite(0, 1, True, True), default=0.05, show_default=True,
    help="Chance of finding one where there is none.",
)  # fmt: skip
@click.option(
    "--share", type=Finite(0, 0.5, True), default=0.5, show_default=True,
    help="Of the traffic, for each arm.",
)  # fmt: skip
@click.option("--per-day", type=Finite(0, min_open=True), help="Units of traffic a day.")
@_json
def plan(
    rate: float, change: float | None, alpha: float, share: float, per_day: float | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Say how many units it takes to find a change, before the experiment is begun.

    A unit is a conversation, unless rollout.unit says otherwise. It may be looked at all the time;
    what that costs is in the numbers.
    """
    from undercroft.trials.power import plan as planned

    wanted = _CHANGES if change is None else (change,)
    possible = [each for each in wanted if 0 <= rate + each <= 1]
    if change == 0:
        raise click.BadParameter(
            "0 is no change; there is nothing to find", param_hint="'--change'"
        )
    if not possible:
        why = f"{rate:.1%} cannot change by {change or 0:+.0%}: that would be no rate"
        raise click.BadParameter(why, param_hint="'--change'")
    found = [planned(rate, each, alpha=alpha / 2, share=share) for each in possible]
    if as_json:
        print_json({"plans": [_as_dict(each, per_day) for each in found]})
        return
    click.echo(f"From {rate:.1%}, with {share:.0%} of the traffic in each arm:")
    for line in standing.table(_plans(found, per_day)):
        click.echo(line)


def _as_dict(each: Plan, per_day: float | None) -> dict[str, Any]:
    return {**as_dict(each), **({"days": each.units_likely / per_day} if per_day else {})}


def _plans(found: list[Plan], per_day: float | None) -> list[tuple[str, ...]]:
    heads = ["change", "units in each arm: half find it by", "four of five by", "traffic"]
    rows = [(*heads, "days") if per_day else tuple(heads)]
    for each in found:
        row = (
            f"{each.change * 100:+g} points", f"{each.pairs:,}", f"{each.pairs_likely:,}",
            f"{each.units_likely:,}",
        )  # fmt: skip
        rows.append((*row, f"{each.units_likely / per_day:,.1f}") if per_day else row)
    return rows


@abtest.command("start", epilog="Example:  undercroft release abtest start route:docs@7")
@click.argument("route", default="newest")
@click.option(
    "--share", type=Finite(0, 0.5, True), default=0.5, show_default=True,
    help="Of the traffic, for each arm.",
)  # fmt: skip
@_json
@click.pass_obj
def start(state: State, route: str, share: float, as_json: bool) -> None:
    """Compare ROUTE with the live one, each with the same share, until somebody ends it.

    Harm still rolls back.
    """
    from undercroft.config import changed
    from undercroft.release import rollout

    project = state.project()
    options = {"steps": [share], "shadow_requests": 0}
    settings = changed("rollout", project.settings.rollout, options, "release abtest start")
    trial = rollout.start(project, route, who(project), kind="abtest", settings=settings)
    if as_json:
        print_json(rollout.status(project))
        return
    click.echo(f"{trial.canary} and {trial.control}, {share:.0%} of the traffic each.")
    standing.warn_if_silent(project)
    click.echo(
        "Read it:  undercroft release abtest report    End it:  undercroft release abtest stop"
    )


@abtest.command(epilog="Example:  undercroft release abtest report --html test.html")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with pictures.")
@_json
@click.pass_obj
def report(state: State, html: Path | None, as_json: bool) -> None:
    """Say how the experiment stands: both arms, bounds that hold at all times, what follows."""
    from undercroft.trials.report import as_html

    found = _experiment(state.project())
    if html is not None:
        write(html, as_html(found))
    if as_json:
        print_json(found)
        return
    standing.show(found)
    if html is not None:
        click.echo(f"\nThe page is {html}.")


@abtest.command(epilog="Example:  undercroft release abtest stop --reason 'no difference'")
@reason_option
@_json
@click.pass_obj
def stop(state: State, reason: str, as_json: bool) -> None:
    """End the experiment; the live route stays."""
    from undercroft.release import rollout

    project = state.project()
    _experiment(project)
    trial = rollout.stop(project, who(project), reason)
    if as_json:
        print_json(rollout.status(project))
        return
    click.echo(f"Ended. {trial.control} is live.")
    click.echo(f"If {trial.canary} was better:  undercroft release start {trial.canary}", err=True)


def _experiment(project: Project) -> dict[str, Any]:
    """How the last one stands. Raises `NotFound` when there is none."""
    from undercroft.errors import NotFound
    from undercroft.release import rollout

    found = rollout.status(project)
    if found is None:
        raise NotFound("There was no experiment yet.", do=_START)
    if found["kind"] != "abtest":
        raise NotFound(
            f"What was begun last is a rollout of {found['canary']}, and no experiment.",
            do="See it with: undercroft release status",
        )
    return found
