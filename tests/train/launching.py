"""A job that ranks carry out in milliseconds a step, and a stage's run to watch over them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from tests.train.small import SAMPLES, Squares, model, settings
from undercroft.errors import BadInput
from undercroft.project import Project
from undercroft.settings import ClusterSettings
from undercroft.stage import StageRun
from undercroft.train.launch.crew import Crew
from undercroft.train.launch.host import Hosts
from undercroft.train.launch.job import InStage, Job, Parts, Site
from undercroft.train.points import Point, Tally
from undercroft.train.schedule import Schedule

STEPS = 24


class Slow(Squares):
    """Takes a while, so that there is time to kill; ends a process when they are ``too_many``.

    The second rank hangs at its tenth batch, unless the file ``hung`` says that it did before.
    """

    def __init__(self, slow_s: float, too_many: int, hung: Path | None) -> None:
        super().__init__()
        self._slow_s = slow_s
        self._too_many = too_many
        self._hung = hung
        self._batches = 0

    def terms(self, model: nn.Module, batch: Any) -> Any:
        from torch import distributed

        time.sleep(self._slow_s)
        if self._too_many and distributed.get_world_size() >= self._too_many:
            os._exit(77)
        self._batches += 1
        is_second = self._batches == 10 and distributed.get_rank() == 1
        if is_second and self._hung and not self._hung.exists():
            self._hung.touch()
            time.sleep(1000)
        return super().terms(model, batch)


def built(site: Site, *, slow_s: float, too_many: int, hung: Path | None, fails: str) -> Parts:
    if fails:
        raise BadInput(fails, "It always does.", "Do nothing.")
    return Parts(model(), None, Slow(slow_s, too_many, hung), SAMPLES)


@dataclass
class Seen:
    """What was told of a run: the losses by step, the last ones where steps were done again."""

    losses: dict[int, float] = field(default_factory=dict[int, float])
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [detail for each, detail in self.events if each == kind]


def opened(root: Path) -> StageRun:
    """A run in a project of its own."""
    root.mkdir(parents=True, exist_ok=True)
    project = Project.open(root)
    begun = project.ledger.begin_run("train", "key", {}, [])
    workdir = project.state / "work"
    workdir.mkdir(exist_ok=True)
    return StageRun(project, begun.id, workdir)


def watch(
    root: Path,
    hosts: Hosts,
    processes: int,
    *,
    slow_s: float = 0.0,
    too_many: int = 0,
    hung: Path | None = None,
    fails: str = "",
    timeout_s: float = 30.0,
    restarts: int = 5,
    at_step: Callable[[int, list[int]], None] = lambda step, pids: None,
) -> Seen:
    """Have a crew train to the end, and take up its last checkpoint as a stage does.

    ``at_step`` is told of each step, with the pids of the ranks that took it.
    """
    run = opened(root)
    build = partial(built, slow_s=slow_s, too_many=too_many, hung=hung, fails=fails)
    params = settings(max_steps=STEPS, parallel={"processes": processes}, checkpoint_steps=4)
    job = replace(Job.of(run, build, params, "digest", "train"), imports=())
    seen = Seen()

    def report(point: Point, schedule: Schedule) -> None:
        seen.losses[point.step] = point.loss
        at_step(point.step, told("ranks_started")[-1]["pids"])

    def told(kind: str | None = None) -> list[dict[str, Any]]:
        return [detail for _, _, detail in run.project.ledger.events(run.id, kind)]

    cluster = ClusterSettings(rank_timeout_s=timeout_s, rank_restarts=restarts)
    Crew(run, job, hosts, cluster).train(report)
    seen.events = [(kind, detail) for _, kind, detail in run.project.ledger.events(run.id)]
    home = InStage(run, is_heard=False)
    last = job.run(job.build(home), home.event)
    assert last.schedule.steps_left == 0
    seen.tally = last.tally
    return seen
