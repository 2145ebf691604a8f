"""Runs: the list, and one run with its progress, curves and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from undercroft.console.views.lists import PAGE_SIZE, Paged, one_more
from undercroft.ledger import compare, observed
from undercroft.ledger.marks import WORDS, Mark, marks_of
from undercroft.ledger.strips import Strip, strips_of
from undercroft.project import Project
from undercroft.records import Artifact, Decision, Progress, Run

_WONDER_S = 120.0
_POINTS_A_SECOND = 2_000  # that may be read again for a page that is looked at
STATUSES = ("running", "finished", "failed", "cancelled")
TITLES = {
    "loss": ("Loss", ""),
    "heldout_loss": ("Held-out loss", ""),
    "token_accuracy": ("Token accuracy", ""),
    "grad_norm": ("Gradient norm", ""),
    "lr": ("Learning rate", ""),
    "tokens_per_s": ("Speed", "tokens/s"),
    "mfu": ("Of measured matmul peak", ""),
    "energy_j": ("Energy of a step", "J"),
    "memory_mb": ("Memory", "MB"),
    "device_mb": ("Device memory", "MB"),
    "draw_s": ("Drawing samples", "s"),
    "passes_s": ("Forward and backward", "s"),
    "update_s": ("Update", "s"),
    "checkpoint_s": ("Checkpoints", "s"),
    "heldout_s": ("Measuring what is held out", "s"),
    "observe_s": ("Looks inside the model", "s"),
}
COSTS = frozenset({"tokens_per_s", "mfu", "energy_j", "memory_mb", "device_mb"})


@dataclass(frozen=True)
class RunRow:
    """A run and, while it is running, how far it is."""

    run: Run
    progress: Progress | None

    @property
    def seconds(self) -> float:
        """Wall time so far, or in all."""
        return run_seconds(self.run)

    @property
    def silent_s(self) -> float | None:
        """How long a running stage has said nothing, once that is long enough to wonder."""
        if self.run.status != "running":
            return None
        last = self.progress.updated_at if self.progress else self.run.started_at
        silent = (datetime.now(UTC) - last).total_seconds()
        return silent if silent > _WONDER_S else None

    @property
    def seconds_left(self) -> float | None:
        """By the average pace since the start; None where that says nothing, or the stage does."""
        at = self.progress
        if at is None or not at.total or at.done <= 0 or self.silent_s or "left" in at.note:
            return None
        passed = (at.updated_at - self.run.started_at).total_seconds()
        return passed * (at.total - at.done) / at.done


@dataclass(frozen=True)
class RunList:
    runs: Paged[RunRow]
    status: str
    stage: str


@dataclass(frozen=True)
class Curve:
    """One metric over the steps; ``is_cost`` when it says nothing of the model itself."""

    title: str
    unit: str
    points: Sequence[tuple[float, float]]
    is_cost: bool = False


@dataclass(frozen=True)
class RunPage:
    row: RunRow
    inputs: Sequence[Artifact]
    outputs: Sequence[Artifact]
    curves: Sequence[Curve]
    marks: Sequence[Mark]
    strips: Sequence[Strip]
    decisions: Sequence[Decision]
    events: Sequence[tuple[datetime, str, Mapping[str, Any]]]

    @property
    def run(self) -> Run:
        return self.row.run

    @property
    def refresh_s(self) -> float | None:
        """Seconds until a look at a running run says more; a long one is read less often."""
        if self.run.status != "running":
            return None
        points = sum(len(curve.points) for curve in self.curves)
        return 1.0 + points / (10 * _POINTS_A_SECOND)


def listed(project: Project, page: int = 1, status: str = "", stage: str = "") -> RunList:
    """One page of the runs, newest first; unknown statuses mean all."""
    status = status if status in STATUSES else ""
    found = project.ledger.runs(
        stage=stage or None,
        status=status or None,
        limit=PAGE_SIZE + 1,
        offset=(page - 1) * PAGE_SIZE,
    )
    paged = one_more([with_progress(project, run) for run in found], page)
    return RunList(paged, status, stage)


def one(project: Project, run_id: str) -> RunPage:
    """Everything about one run; raises `NotFound`."""
    ledger = project.ledger
    run = ledger.run(run_id)
    events = ledger.events(run_id)
    outputs = [ledger.artifact(ref) for ref in run.outputs]
    decisions = [each for made in outputs for each in ledger.decisions(subject=str(made.ref))]
    return RunPage(
        row=with_progress(project, run),
        inputs=[ledger.artifact(ref) for ref in run.inputs],
        outputs=outputs,
        curves=curves(events),
        marks=marks_of(events),
        strips=strips_of(observed.read(observed.path_of(project.state, run_id))),
        decisions=decisions,
        events=[event for event in events if event[1] not in {"metric", *WORDS}][-50:],
    )


def curves(events: Sequence[compare.Happened]) -> list[Curve]:
    """Every series of a run's metric events."""
    return [
        Curve(
            *titled(metric),
            list(zip(map(float, found.steps), found.values, strict=True)),
            metric in COSTS or metric.endswith("_s"),
        )
        for metric, found in compare.curves_of(events).items()
    ]


def titled(metric: str) -> tuple[str, str]:
    """What to call a metric, and its unit."""
    if metric in TITLES:
        return TITLES[metric]
    words, unit = (metric[:-2], "s") if metric.endswith("_s") else (metric, "")
    return words.replace("heldout", "held-out").replace("_", " ").capitalize(), unit


def with_progress(project: Project, run: Run) -> RunRow:
    running = run.status == "running"
    return RunRow(run, project.ledger.progress(run.id) if running else None)


def run_seconds(run: Run) -> float:
    """Wall time of a run so far, or in all."""
    if run.finished_at is None:
        return (datetime.now(UTC) - run.started_at).total_seconds()
    return run.footprint.wall_s or (run.finished_at - run.started_at).total_seconds()
