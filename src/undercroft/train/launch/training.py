"""What stages call to have a job carried out, in this process or in several."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from undercroft.errors import StageFailed
from undercroft.settings import ParallelSettings
from undercroft.stage import StageRun
from undercroft.train.launch.job import InStage, Job, Parts
from undercroft.train.parallel.plan import is_cut
from undercroft.train.recording import facts_of, gauged, watched

if TYPE_CHECKING:
    from undercroft.train.launch.host import Hosts
    from undercroft.train.loop import Report
    from undercroft.train.points import Point, Tally
    from undercroft.train.schedule import Schedule

_TIMES_HOME = 3  # that ranks are asked for a checkpoint that can be read


@dataclass(frozen=True)
class Trained:
    """A trained model among its parts, and what became of the run."""

    parts: Parts
    tally: Tally
    schedule: Schedule
    facts: dict[str, Any]


def trained(run: StageRun, job: Job) -> Trained:
    """Carry ``job`` out, in as many processes as its settings say; goes on after a crash.

    Ranks end with a checkpoint of the last step. This process then makes the same run, which finds
    nothing left to do: what comes after training is the same for one process and for many.
    """
    training = _Training(run, job)
    started = time.monotonic()
    tally = watched(run, training, job.params)
    facts = facts_of(tally, training.schedule, time.monotonic() - started) | training.facts
    return Trained(training.parts, tally, training.schedule, facts)


class _Training:
    """A job on its way: by ranks if there are to be several, and in this process."""

    parts: Parts
    schedule: Schedule

    def __init__(self, run: StageRun, job: Job) -> None:
        self._run = run
        self._job = job
        self.facts: dict[str, Any] = {}
        if job.params.parallel.processes == 1:
            self._build()

    def train(self, report: Report, before_save: Callable[[], None]) -> Tally:
        """To the end of the schedule."""
        if self._job.params.parallel.processes > 1:
            self._by_ranks(report, before_save)
            home = self._from_afar(report, before_save)
            if home is not None:
                return home
            self._build()
        if self._training.schedule.steps_left:
            report = gauged(self._training, report, self._job.meter, self._job.state)
        tally = self._training.train(report, before_save)
        self.schedule = self._training.schedule
        return tally

    def _build(self) -> None:
        job = self._job
        site = InStage(self._run, is_heard=job.params.parallel.processes == 1)
        self.parts = job.build(site)
        params = job.params
        if params.parallel.processes > 1:
            params = params.model_copy(update={"parallel": ParallelSettings()})
        self._training = job.run(self.parts, site.event, params=params)

    def _from_afar(self, report: Report, before_save: Callable[[], None]) -> Tally | None:
        """Take up what ranks have left of a model that none of them held whole: its weights stay
        in the checkpoint, from which the model is saved. None for any other model.

        Where the last checkpoint was damaged, ranks go on from the one before.
        """
        from undercroft.train.launch.home import taken_home

        params = self._job.params
        if not is_cut(params.parallel):
            return None
        self.parts = self._job.build(InStage(self._run, is_heard=False))
        for _ in range(_TIMES_HOME):
            found = taken_home(
                self._job, self.parts, lambda kind, detail: self._run.event(kind, **detail)
            )
            if found is None:
                return None
            if found.is_done:
                self.schedule = found.schedule
                return found.tally
            self._by_ranks(report, before_save)
        raise StageFailed(
            "What the ranks left cannot be read.",
            f"Their last checkpoint was damaged {_TIMES_HOME} times.",
            "See whether the disk is sound, and run the same command again.",
        )

    def _by_ranks(self, report: Report, keep: Callable[[], None]) -> None:
        from undercroft.train.launch.crew import Crew

        cluster = self._run.project.settings.cluster
        times = _Times()

        def noted(point: Point, schedule: Schedule) -> None:
            times.note(schedule)
            report(point, schedule)

        hosts = self._hosts()
        try:
            Crew(self._run, self._job, hosts, cluster).train(noted, keep)
        finally:
            hosts.close()
        losses = self._run.project.ledger.events(self._run.id, "rank_lost")
        self.facts = {
            "processes": self._job.params.parallel.processes,
            "restarts": len(losses),
            "goodput": round(times.goodput, 4),
        }

    def _hosts(self) -> Hosts:
        from undercroft.train.launch.host import Here
        from undercroft.train.launch.on_ray import RayHosts

        log = self._run.project.state / "logs" / "ranks.log"
        cluster = self._run.project.settings.cluster
        device = self._job.params.device
        return RayHosts(cluster, log, device) if cluster.engine == "ray" else Here(log)


class _Times:
    """Seconds that went into steps that were not lost again, out of all."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._before: float | None = None
        self._now = 0.0

    def note(self, schedule: Schedule) -> None:
        """A step was taken: ``schedule`` counts the seconds of steps, and goes back with them."""
        if self._before is None:
            self._before = schedule.elapsed_s - schedule.recent_s[-1]
        self._now = schedule.elapsed_s

    @property
    def goodput(self) -> float:
        """Between 0 and 1."""
        useful = self._now - (self._before or 0.0)
        return max(0.0, useful) / max(time.monotonic() - self._began, 1e-9)
