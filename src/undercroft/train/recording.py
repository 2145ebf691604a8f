"""What a training run tells while it goes, and what is kept of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from undercroft.ledger import observed
from undercroft.settings import LoopSettings, MeterSettings
from undercroft.stage import StageRun
from undercroft.train.reading import Read, write_reading
from undercroft.train.tracking import Tracker, Untracked

if TYPE_CHECKING:
    from undercroft.train.loop import Report, Run
    from undercroft.train.points import Point, Tally
    from undercroft.train.schedule import Schedule

_KEEP_S: Final = 0.5


class Recorder:
    """Tells of each step: the run's events, its progress, and MLflow.

    A commit costs as much as a fast step takes, so points are kept for up to `_KEEP_S`, and are
    committed before a checkpoint is begun: what a killed run has not committed, it does again.
    """

    def __init__(self, run: StageRun, tracker: Tracker | Untracked) -> None:
        self._run = run
        self._tracker = tracker
        self._waiting: list[tuple[datetime, str, dict[str, Any]]] = []
        self._committed = 0.0

    def __call__(self, point: Point, schedule: Schedule) -> None:
        values = {name: _rounded(value) for name, value in point.flat().items()}
        self._waiting.append((datetime.now(UTC), "metric", values))
        self._tracker.metrics(point.step, {k: float(v) for k, v in values.items() if k != "step"})
        if point.observed is not None:
            observed.append(observed.path_of(self._run.project.state, self._run.id), point.observed)
            self._tracker.metrics(point.step, observed.Look.of_dict(point.observed).metrics())
        if time.monotonic() - self._committed >= _KEEP_S:
            self.commit()
        self._run.progress(
            point.step,
            schedule.num_steps,
            "steps",
            f"loss {point.loss:.3f}, {point.tokens_per_s:,.0f} tokens/s, "
            f"{schedule.seconds_left:.0f} s left",
        )

    def commit(self) -> None:
        """Have in the ledger all that was told so far."""
        waiting, self._waiting = self._waiting, []
        self._run.project.ledger.log_events(self._run.id, waiting)
        self._committed = time.monotonic()


def gauged(training: Run[Any], report: Report, meter: MeterSettings, folder: Path) -> Report:
    """``report``, told also what each step costs where ``training`` runs.

    What the machine can do at most is kept in ``folder``.
    """
    from undercroft.train.gauges import Gauges, peak_flops, work_of

    peak = peak_flops(folder, training.model)
    gauges = Gauges(work_of(training.model), peak, meter, training.tally, training.num_ranks)

    def told(point: Point, schedule: Schedule) -> None:
        report(replace(point, metrics={**point.metrics, **gauges.read(point)}), schedule)

    return told


class Trains(Protocol):
    """Something that trains: a run, or a job that is one in this process or in others."""

    def train(self, report: Report, before_save: Callable[[], None]) -> Tally: ...


def watched(run: StageRun, training: Trains, params: LoopSettings) -> Tally:
    """Train, and tell of every step."""
    stage = type(params).__name__.removesuffix("Settings").lower()
    uri = params.mlflow or f"sqlite:///{run.project.state / 'mlflow.db'}"
    log = run.project.state / "logs" / "mlflow.log"
    tracker = Tracker.to(uri, run.project.name, f"{stage}-{run.id}", log)
    tracker.params(params.model_dump(mode="json"))
    recorder = Recorder(run, tracker)
    try:
        tally = training.train(recorder, before_save=recorder.commit)
    except BaseException:
        tracker.close(wait_s=0)
        raise
    finally:
        recorder.commit()
    if not tracker.close():
        run.event("tracking_failed", log=str(log))
    return tally


def facts_of(tally: Tally, schedule: Schedule, seconds: float) -> dict[str, Any]:
    """The run in numbers, for the model's meta and card."""
    tenth = max(1, len(tally.losses) // 10)
    first, last = tally.losses[:tenth], tally.losses[-tenth:]
    return {
        "steps": schedule.step,
        "examples": tally.examples,
        "tokens": tally.tokens,
        "targets": tally.targets,
        "skipped_steps": tally.skipped,
        "halvings": tally.halvings,
        **({"overflows": tally.overflows} if tally.overflows else {}),
        "rollbacks": tally.rollbacks,
        "rate_scale": schedule.scale,
        "left_out": tally.left_out,
        "seconds": round(max(seconds, schedule.elapsed_s), 2),
        "tokens_per_s": round(tally.tokens / max(schedule.elapsed_s, 1e-9), 1),
        "first_loss": round(sum(first) / max(1, len(first)), 4),
        "last_loss": round(sum(last) / max(1, len(last)), 4),
        **({} if tally.best_step is None else _heldout_facts(tally)),
    }


def _heldout_facts(tally: Tally) -> dict[str, Any]:
    """What was best on what was held out; the model has the weights of that step."""
    return {
        "best_step": tally.best_step,
        "heldout_loss": round(tally.heldout_loss or 0.0, 4),
        "stopped_early": tally.stopped_early is not None,
    }


def keep_record(
    folder: Path,
    params: LoopSettings,
    facts: Mapping[str, Any],
    tally: Tally,
    samples: Iterable[Iterable[Read]],
) -> None:
    """Write ``training.json`` and which document each sample holds beside the model."""
    reading = write_reading(folder, samples, params.seed, tally)
    record = {
        "params": params.model_dump(mode="json"),
        **facts,
        "losses": tally.losses,
        "reading": reading,
    }
    (folder / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _rounded(value: float) -> float:
    return float(f"{value:.6g}") if isinstance(value, float) else value
