"""Always on: sources -> documents -> dataset -> index, again and again, as they change.

Every stage has a thread of its own and works on what the one before it made last, through its own
durable queue: while one is busy, whatever comes meanwhile waits for it as one newer version. A
stage that fails is tried again after a while, longer each time, and stops none of the others.
Data that has moved far enough from what is served calls for a new model, where that is asked for.
Nothing is done twice: stages know what they have done by their inputs, and documents by their
digests.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from undercroft.collect.live import Live
from undercroft.collect.stage import collect, watching
from undercroft.curate.stage import curate
from undercroft.errors import UndercroftError
from undercroft.index.stage import distil, index
from undercroft.jobs import Runner
from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.release.live import live_route
from undercroft.stage import Stage, remembered
from undercroft.versions import in_use
from undercroft.versions.freshness import Freshness, drift_of, freshness, served_dataset

LONGEST_PAUSE_S: Final = 300.0


@dataclass(frozen=True)
class Step:
    """A stage, and the artifacts it takes by the name of the step that makes them."""

    stage: Stage[Any]
    inputs: Mapping[str, str] = field(default_factory=dict[str, str])


STEPS: Final = (
    Step(collect),
    Step(curate, {"raw": "collect"}),
    Step(distil),
    Step(index, {"dataset": "curate", "embedding": "distil"}),
)


#: The step that makes and judges a new model; the whole of the main job.
RETRAIN: Final = "retrain"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: a step made something (``artifact``) or failed (``error``)."""

    step: str
    seconds: float
    artifact: Artifact | None = None
    error: UndercroftError | None = None
    next_try_s: float = 0.0


Tell = Callable[[Event], None]


@dataclass
class Watch:
    """Keeps the project's documents, dataset and index as its sources are.

    Sources are looked at every ``interval_s`` seconds, folders also as soon as something changes
    in them. ``retrain``, where there is one, makes a new
    model, judges it and gives the route that came of it; it is called whenever the data has drifted
    over ``release.retrain_at_drift`` from what is served.
    """

    project: Project
    runner: Runner
    tell: Tell
    interval_s: float
    steps: Sequence[Step] = STEPS
    retrain: Callable[[], Artifact] | None = None
    made: dict[str, Artifact] = field(default_factory=dict[str, Artifact])
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _stop: threading.Event = field(default_factory=threading.Event)
    _live: Live | None = None

    def run(self, *, once: bool = False) -> None:
        """Watch until `stop`; with ``once``, until everything is as the sources are now."""
        if once:
            for step in self.steps:
                self._attempt(step, 0)
            if self.needs_retraining():
                self._attempt_retraining(0)
            return
        with watching(self.project) as self._live:
            self._run_all()

    def _run_all(self) -> None:
        """Every step in a thread of its own, until all of them have ended."""
        threads = [
            threading.Thread(target=self._keep, args=(step,), name=step.stage.name, daemon=True)
            for step in self.steps
        ]
        threads.append(threading.Thread(target=self._keep_trained, name=RETRAIN, daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():  # a join without end would not hear Ctrl-C
                thread.join(0.5)

    def stop(self) -> None:
        """End after what is being done."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def drift(self) -> list[Freshness]:
        """How the newest dataset differs from what is served, by source; none before the first."""
        dataset = self.made.get("curate")
        if dataset is None:
            return []
        served = served_dataset(self.project, live_route(self.project))
        return freshness(self.project, dataset, served)

    def needs_retraining(self) -> bool:
        """Whether there is a way to retrain, and the drift says that it is time."""
        limit = self.project.settings.release.retrain_at_drift
        return self.retrain is not None and drift_of(self.drift()) > limit

    def _keep_trained(self) -> None:
        failures = 0
        done: Artifact | None = None
        while self.retrain is not None and not self._stop.is_set():
            dataset = self.made.get("curate")
            is_due = dataset is not None and (dataset != done or failures)
            if is_due and self.needs_retraining():
                failures = 0 if self._attempt_retraining(failures) else failures + 1
            done = dataset
            if failures:
                self._stop.wait(self._pause(failures))
            else:
                self._wait_for_other(done)

    def _wait_for_other(self, dataset: Artifact | None) -> None:
        """Until there is another dataset, or the end."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._stop.is_set() or self.made.get("curate") != dataset, timeout=60.0
            )

    def _attempt_retraining(self, failures: int) -> bool:
        assert self.retrain is not None
        started = time.monotonic()
        try:
            route = self.retrain()
        except UndercroftError as error:
            self.tell(Event(RETRAIN, _since(started), None, error, self._pause(failures + 1)))
            return False
        self.tell(Event(RETRAIN, _since(started), route))
        return True

    def _keep(self, step: Step) -> None:
        failures = 0
        done: tuple[str, ...] | None = None
        while not self._stop.is_set():
            inputs = self._inputs(step)
            digests = tuple(each.digest for each in inputs.values()) if inputs is not None else None
            is_due = inputs is not None and (not step.inputs or digests != done or failures)
            if is_due:
                is_good = self._attempt(step, failures)
                failures = 0 if is_good else failures + 1
                done = digests if is_good else None
            self._wait(step, failures, digests)

    def _wait(self, step: Step, failures: int, digests: tuple[str, ...] | None) -> None:
        """Until the next look at the sources, the next try, or something new to work on."""
        if failures:
            self._stop.wait(self._pause(failures))
        elif not step.inputs:
            self._wait_for_sources()
        else:
            with self._changed:
                self._changed.wait_for(lambda: self._is_new(step, digests), timeout=60.0)

    def _wait_for_sources(self) -> None:
        """Until a file has changed, where the kernel tells of it, or the next look is due."""
        ends = time.monotonic() + self.interval_s
        while not self._stop.is_set() and (left := ends - time.monotonic()) > 0:
            if self._live is None:
                self._stop.wait(left)
            elif self._live.wait(min(left, 0.5)):
                return

    def _is_new(self, step: Step, digests: tuple[str, ...] | None) -> bool:
        inputs = self._inputs(step)
        now = tuple(each.digest for each in inputs.values()) if inputs is not None else None
        return self._stop.is_set() or now != digests

    def _inputs(self, step: Step) -> dict[str, Artifact] | None:
        """What the step works on; None while something of it is missing."""
        found = {name: self.made.get(source) for name, source in step.inputs.items()}
        return {n: a for n, a in found.items() if a is not None} if all(found.values()) else None

    def _pause(self, failures: int) -> float:
        return float(min(self.interval_s * 2**failures, LONGEST_PAUSE_S))

    def _attempt(self, step: Step, failures: int) -> bool:
        """Carry the step out unless that was done already; whether it succeeded."""
        started, name = time.monotonic(), step.stage.name
        inputs = self._inputs(step)
        if inputs is None:
            return False
        try:
            plan = step.stage.plan(self.project, **inputs)
            found = remembered(self.project, plan)
            outputs = found or self.runner.run(self.project, plan, lambda _progress: None)
        except UndercroftError as error:
            self.tell(Event(name, _since(started), None, error, self._pause(failures + 1)))
            return False
        artifact = in_use(self.project, outputs[0]) if name == "curate" else outputs[0]
        is_new = self.made.get(name) != artifact
        with self._changed:
            self.made[name] = artifact
            self._changed.notify_all()
        if is_new:
            self.tell(Event(name, _since(started), artifact))
        return True


def _since(started: float) -> float:
    return round(time.monotonic() - started, 2)
