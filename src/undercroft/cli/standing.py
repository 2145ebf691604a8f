"""How a rollout or an experiment looks in a terminal: where it is, and what both arms did."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from undercroft.cli.main import print_json

if TYPE_CHECKING:
    from undercroft.project import Project

LOOK_S = 1.0
OPEN = ("running", "held")
_NOISE = 0.05  # arms that fill as unevenly more rarely than this are worth a word

Status = Mapping[str, Any]
_HEADS = ("", "control", "canary", "difference", "surely", "of harm", "")


def show(found: Status) -> None:
    """Print all that is known of it."""
    for line in lines(found, time.time()):
        click.echo(line)


def follow(look: Callable[[], Status | None], as_json: bool) -> None:
    """Print it again and again, until it is over: whole on a screen, what changed elsewhere.

    Raises `StageFailed` when the new route is taken back, so that scripts can wait for the end.
    """
    from undercroft.errors import StageFailed

    before: Status | None = None
    while True:
        found = look()
        assert found is not None
        if as_json or not sys.stdout.isatty():
            if before is None or _changed(before, found):
                print_json(found) if as_json else show(found)
        else:
            click.clear()
            show(found)
            click.echo("\nCtrl-C stops watching; the rollout goes on.")
        before = found
        if found["status"] == "rolled back":
            raise StageFailed(
                f"{found['canary']} was rolled back.", found["reason"],
                "See: undercroft release history",
            )  # fmt: skip
        if found["status"] not in OPEN:
            return
        time.sleep(LOOK_S)


def _changed(before: Status, found: Status) -> bool:
    return bool(before["version"] != found["version"])


def lines(found: Status, now: float) -> Iterator[str]:
    """What `show` prints."""
    from undercroft.trials.progress import progress

    at = progress(found, now)
    kind = "A/B test" if found["kind"] == "abtest" else "Rollout"
    yield f"{kind} of {found['canary']} against {found['control']}: {found['status']}"
    yield f"  {found['reason']}"
    if at.is_open:
        yield f"  {_place(found, at.step, at.steps)}"
        if at.waits_for:
            yield f"  {at.waits_for}{_left(at.pairs_s)}"
    units = ", ".join(f"{arm} {count:,}" for arm, count in found["units"].items())
    yield f"  units: {units or 'none yet'}" + _evenness(at.even)
    if found["standings"]:
        yield ""
        yield from table([_HEADS, *(_row(each, found["settings"]) for each in found["standings"])])


def _place(found: Status, step: int, steps: int) -> str:
    if not step:
        return "unseen so far: it answers requests that the control has answered"
    share = f"{found['share']:.0%} of the traffic each"
    return share if found["kind"] == "abtest" else f"step {step} of {steps}: {share}"


def _left(pairs_s: float | None) -> str:
    if pairs_s is None or pairs_s < 60:
        return ""
    hours, minutes = divmod(round(pairs_s / 60), 60)
    return f" At this pace they take {hours} h {minutes} min." if hours else (
        f" At this pace they take {minutes} min."
    )  # fmt: skip


def _evenness(even: float) -> str:
    if even >= _NOISE:
        return ""
    return f"; so uneven by chance with a probability of {even:.1g} at most"


def _row(each: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[str, ...]:
    from undercroft.trials import words

    return (
        each["measure"], words.value(each, "control"), words.value(each, "canary"),
        words.difference(each), words.between(each), f"{words.harm(each, settings):.0%}",
        words.standing(each),
    )  # fmt: skip


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as their widest cell; numbers to the right, words to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    last = len(widths) - 1
    for row in rows:
        cells = [
            cell.ljust(width) if column in (0, last) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield ("  " + "  ".join(cells)).rstrip()


def warn_if_silent(project: Project) -> None:
    """Say on standard error that no gateway counts anything here, where none runs."""
    from undercroft.processes import GATEWAY, read_announcement

    if read_announcement(project.state / GATEWAY.announcement) is None:
        click.echo(
            f"No gateway of {project.name} runs here, so nothing is counted yet. "
            "Start one: undercroft serve",
            err=True,
        )
