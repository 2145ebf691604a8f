"""How the main job looks while it goes: bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from undercroft.jobs import Watcher
    from undercroft.project import Project
    from undercroft.records import Progress

PLAIN_EVERY_S = 10.0
NUM_STAGES = 11
TITLES = {
    "collect": "Collect documents",
    "curate": "Clean and deduplicate",
    "distil": "Distil embeddings",
    "index": "Build the index",
    "examples": "Make examples",
    "base": "Load the base model",
    "train": "Train",
    "pretrain": "Pretrain",
    "preferences": "Gather pairs",
    "lessons": "Ask the teacher",
    "student": "Teach the student",
    "align": "Align",
    "compress base": "Quantise the base",
    "compress": "Quantise the model",
    "evaluate": "Evaluate",
    "release": "Decide on release",
    "serve": "Start serving",
}


@contextmanager
def watcher_for(as_json: bool, project: Project) -> Iterator[Watcher]:
    """The watcher that fits where the output goes; always on standard error."""
    if sys.stderr.isatty() and not as_json:
        with _bars() as watcher:
            yield watcher
    else:
        yield Lines(project)


class Lines:
    """One line when a stage starts, every ten seconds while it moves, and when it ends."""

    def __init__(self, project: Project) -> None:
        self._since = self._began = 0.0
        self._said = ""
        print(f"project {project.name} in {project.root}", file=sys.stderr)  # noqa: T201

    def started(self, stage: str, number: int) -> None:
        self._since = self._began = time.monotonic()
        self._say(stage, f"started ({number} of {NUM_STAGES})" if number else "started")

    def progressed(self, stage: str, progress: Progress | None) -> None:
        now = time.monotonic()
        if progress is None or now - self._since < PLAIN_EVERY_S:
            return
        self._since = now
        line = f"{amount(progress)}  {pace(progress, now - self._began)}"
        if line != self._said:
            self._said = line
            self._say(stage, line)

    def finished(self, stage: str, seconds: float, reused: bool) -> None:
        self._say(stage, "up to date" if reused else f"done in {seconds:.1f} s")

    def _say(self, stage: str, text: str) -> None:
        print(f"{TITLES.get(stage, stage):24} {text}", file=sys.stderr, flush=True)  # noqa: T201


def amount(progress: Progress) -> str:
    """How much of how much, in the stage's own unit."""
    done = (
        f"{progress.done:,.0f}" if progress.done == int(progress.done) else f"{progress.done:.1f}"
    )
    total = f" of {progress.total:,.0f}" if progress.total else ""
    return f"{done}{total} {progress.unit}"


def pace(progress: Progress, seconds: float) -> str:
    """How fast it goes and how long it will take, unless the stage's own words say both."""
    words = progress.note[:56]
    if " left" in words or not progress.done or not progress.total or seconds < 1:
        return words
    rate = progress.done / seconds
    left = max(0.0, progress.total - progress.done) / rate
    speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
    return f"{speed} {progress.unit}/s, {left:.0f} s left" + (f", {words}" if words else "")


@contextmanager
def _bars() -> Iterator[Watcher]:
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bars

    columns: list[Any] = [
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description:<22}"),
        BarColumn(bar_width=24, complete_style="cyan", finished_style="green"),
        TextColumn("{task.fields[amount]:>24}"),
        TextColumn("{task.fields[note]}", style="dim"),
    ]
    with Bars(*columns, console=Console(stderr=True), refresh_per_second=8) as bars:
        yield Terminal(bars)


class Terminal:
    """A bar for each step: what, how much, how fast, and the time left."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._since = 0.0
        self._tasks: dict[str, Any] = {}

    def started(self, stage: str, number: int) -> None:
        self._since = time.monotonic()
        self._tasks[stage] = self._bars.add_task(
            TITLES.get(stage, stage), total=None, amount="", note=""
        )

    def progressed(self, stage: str, progress: Progress | None) -> None:
        if progress is None:
            return
        self._bars.update(
            self._tasks[stage],
            completed=progress.done,
            total=progress.total,
            amount=amount(progress),
            note=pace(progress, time.monotonic() - self._since),
        )

    def finished(self, stage: str, seconds: float, reused: bool) -> None:
        done = "up to date" if reused else f"{seconds:.1f} s"
        self._bars.update(self._tasks[stage], total=1, completed=1, amount=done, note="")
        self._bars.stop_task(self._tasks[stage])
