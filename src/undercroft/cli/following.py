"""A run as it goes, in a terminal: how far it is, a line for each metric, what deserved notice."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from undercroft.cli.curve import curve
from undercroft.cli.live import amount, pace

if TYPE_CHECKING:
    from undercroft.project import Project
    from undercroft.records import Progress, Run

Happened = tuple[datetime, str, Mapping[str, Any]]
_POINTS: Final = 32
_NOTED: Final = 6  # of the last things that deserved notice
_SHARE: Final = 0.05  # of the time that reading a long run may take


def follow(project: Project, run_id: str, every_s: float, as_json: bool) -> Run:
    """Show the run until it ends; how it ended. As JSON, each event is a line."""
    if as_json:
        return _looked(project, run_id, every_s, _Lines())
    if not sys.stdout.isatty():
        return _looked(project, run_id, every_s, _plain)
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(), auto_refresh=False) as live:
        return _looked(
            project, run_id, every_s, lambda *seen: live.update(_screen(*seen), refresh=True)
        )


Show = Callable[["Run", "Progress | None", Sequence[Happened]], None]


def _looked(project: Project, run_id: str, every_s: float, show: Show) -> Run:
    """``show`` the run each time it has got on; a long one is read less often."""
    seen = -1
    while True:
        started = time.monotonic()
        run = project.ledger.run(run_id)
        events = project.ledger.events(run_id)
        progress = project.ledger.progress(run_id)
        if len(events) != seen or run.status != "running":
            show(run, progress, events)
        seen = len(events)
        if run.status != "running":
            return run
        time.sleep(max(every_s, (time.monotonic() - started) / _SHARE))


class _Lines:
    """Each event as a line of JSON, once."""

    def __init__(self) -> None:
        self._given = 0

    def __call__(self, run: Run, progress: Progress | None, events: Sequence[Happened]) -> None:
        del progress
        for at, kind, detail in events[self._given :]:
            _print_line({"run": run.id, "at": at, "kind": kind, **detail})
        self._given = len(events)
        if run.status != "running":
            _print_line({"run": run.id, "kind": "ended", "status": run.status})


def _plain(run: Run, progress: Progress | None, events: Sequence[Happened]) -> None:
    """One line on how far it is."""
    del events
    far = f"{amount(progress)}  {progress.note}" if progress else ""
    click.echo(f"{run.id}  {run.status}  {far}".rstrip())


def _print_line(what: Mapping[str, Any]) -> None:
    click.echo(json.dumps(what, default=str, ensure_ascii=False))


def _screen(run: Run, progress: Progress | None, events: Sequence[Happened]) -> Any:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    from undercroft.ledger.compare import curves_of
    from undercroft.ledger.marks import marks_of

    parts: list[Any] = [Text(f"{run.stage} {run.id}: {run.status}", style="bold")]
    if progress is not None:
        since = (progress.updated_at - run.started_at).total_seconds()
        far = Table.grid(padding=(0, 2))
        bar = ProgressBar(progress.total, progress.done, width=40)
        far.add_row(bar, Text(f"{amount(progress)}  {pace(progress, since)}", style="dim"))
        parts.append(far)
    table = Table(box=None, pad_edge=False)
    for name in ("metric", "first", "last", "mean of the last tenth"):
        table.add_column(name, justify="left" if name == "metric" else "right")
    table.add_column("by step")
    for name, found in curves_of(events).items():
        numbers = (found.values[0], found.values[-1], found.end)
        table.add_row(name, *(f"{each:,.4g}" for each in numbers), curve(found.values, _POINTS))
    parts.append(table)
    parts += [
        Text(f"step {mark.step:,}: {mark.words}" + (f" ({mark.why})" if mark.why else ""), "yellow")
        for mark in marks_of(events)[-_NOTED:]
    ]
    return Group(*parts)
