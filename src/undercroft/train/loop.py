"""The one training loop: draw -> forward and backward -> clip -> guard -> step -> log -> save.

A run that is killed goes on from its last checkpoint and ends with the same weights as one that
was not, given ``max_steps`` and the same number of threads. It may be several processes (`Team`),
which read different samples of each step and hold the same weights after it. What is kept of it is
`resuming`'s to say, and what is done about a bad step `dropping`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import nn

from undercroft.settings import LoopSettings
from undercroft.train.drawing import Drawer
from undercroft.train.dropping import Remedy
from undercroft.train.heldout import Heldout
from undercroft.train.models import eight_bits
from undercroft.train.objectives.objective import Objective
from undercroft.train.observing import Observer
from undercroft.train.optimizer import MasterAdamW
from undercroft.train.parallel.device import chosen
from undercroft.train.parallel.team import Alone, Team
from undercroft.train.passes import Passes
from undercroft.train.points import Clock, Point, Tally
from undercroft.train.resuming import Keeper, Learnt
from undercroft.train.schedule import Schedule
from undercroft.train.standing import Standing
from undercroft.train.state import rng
from undercroft.train.state.checkpoint import Event

S = TypeVar("S", bound=Sized)

Report = Callable[[Point, Schedule], None]


class Run(Generic[S]):
    """One training run.

    Each of ``samples`` is read in one forward pass. ``event`` records what deserves notice;
    ``report`` is told of each step and may raise to stop the run. ``section`` is the one of the
    settings that ``params`` are, for what errors advise. In a ``team`` the folder is shared, and
    the first rank alone reports, records and saves; the model may be spread over it (`sharding`).
    ``beat`` is told the number of every step on every rank.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective[S],
        samples: Sequence[S],
        params: LoopSettings,
        *,
        folder: Path,
        config_digest: str,
        event: Event,
        section: str = "train",
        team: Team | None = None,
        heldout: Sequence[S] = (),
        beat: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._team = team or Alone(chosen(params.device))
        self._beat = beat
        self._is_first = self._team.rank == 0
        rng.seed_all(params.seed + self._team.data.rank)
        if params.precision == "fp8":
            eight_bits.check(self._team.device, self._team.tensor.size)
            eight_bits.use(model)
        self.model = model.to(self._team.device)
        self._objective = objective
        self._params = params
        event = event if self._is_first else _tell_nobody
        self._now = Standing.at_start(params, len(samples))
        self._optimizer = MasterAdamW(model, params.weight_decay, self._team, params.optimizer)
        self._drawer = Drawer(objective, samples, self._now.sampler, self._team)
        self._passes = Passes(model, objective, self._drawer, self._team)
        self._heldout = Heldout(model, objective, heldout, self._team, self._passes.look)
        self._clock = Clock()
        self._observer = Observer(model, self._optimizer.masters, params.observe_steps, self._team)
        self._learnt = Learnt(model, objective, self._optimizer, self._team, self._passes.is_told)
        self._keeper = Keeper(
            self._learnt, self._now, params, folder=folder, config_digest=config_digest, event=event
        )
        self._store, self._writer = self._keeper.store, self._keeper.writer
        self._remedy = Remedy(
            self._now, self._keeper, params, samples, event=event, section=section
        )
        self._keeper.resume()

    @property
    def schedule(self) -> Schedule:
        """The learning rate, and how far the run is."""
        return self._now.schedule

    @property
    def tally(self) -> Tally:
        """Sums over the run so far."""
        return self._now.tally

    @property
    def num_ranks(self) -> int:
        """Processes that train it, this one included."""
        return self._team.size

    def train(self, report: Report, before_save: Callable[[], None] = lambda: None) -> Tally:
        """Go to the end of the schedule; raises `StageFailed` for a run that has diverged.

        ``before_save`` is called before a checkpoint is begun, so that nothing is gone on from of
        which something was told that would be lost with this process.
        """
        self.model.train()
        saved = time.monotonic()
        try:
            while not self._now.is_done:
                started = time.monotonic()
                point = self._step()
                now = time.monotonic()
                is_time = now - saved >= self._params.checkpoint_seconds
                is_time = is_time and not self._writer.is_busy
                seconds, is_time = self._team.from_first((now - started, is_time))
                self.schedule.advance(seconds)
                self._beat(self.schedule.step)
                started = time.monotonic()
                point, is_best = self._measured(point)
                if point is not None and self._is_first:
                    report(point, self.schedule)
                is_saved = is_time or is_best or self._keeper.is_anchor
                if is_saved:
                    if self._is_first:
                        before_save()
                    self.save()
                    saved = time.monotonic()
                if is_saved or self._is_measured:  # the budget is wall-clock time
                    self.schedule.elapsed_s += self._team.from_first(time.monotonic() - started)
                self._keeper.tell_failures()
            self._keeper.take_best()
        finally:
            self._writer.finish()
        self._keeper.tell_failures()
        return self.tally

    def save(self) -> None:
        """Begin to write a checkpoint of this very state."""
        with self._clock.part("checkpoint"):
            self._keeper.save()

    def keep(self) -> None:
        """Return when a checkpoint of this very state is written; raises `StorageFull` if none is
        to be had."""
        self.save()
        self._keeper.finish()

    @property
    def _is_measured(self) -> bool:
        return bool(self._heldout) and self.schedule.step % self._params.heldout_steps == 0

    def _measured(self, point: Point | None) -> tuple[Point | None, bool]:
        """``point`` with the held-out loss, if it is time, and whether that is the best so far."""
        if point is None or not self._is_measured:
            return point, False
        step = self.schedule.step
        with self._clock.part("heldout"):
            found = self._heldout.measure()
        is_best = self._now.patience.is_better(step, found["heldout_loss"])
        if is_best:
            self._store.pinned = step
        seconds = {**point.seconds, **self._clock.take()}
        return replace(point, metrics={**point.metrics, **found}, seconds=seconds), is_best

    def _step(self) -> Point | None:
        """One optimizer step; None when the guard dropped it."""
        started = time.monotonic()
        with self._clock.part("draw"):
            draw = self._drawer.draw(self._params.batch_size)
            self.tally.note(draw, self._now.sampler.position)
        rate, scale = self.schedule.rate(), self._now.scale.scale
        is_observed = self._observer.is_due(self.schedule.step + 1, self.schedule.elapsed_s)
        with self._clock.part("passes"), self._observer.activations(is_observed):
            measured = self._passes.run(draw, scale)
        loss = measured.loss
        with self._clock.part("update"):
            norm = self._optimizer.gather(self._params.max_grad_norm, scale)
        is_overflow = self._now.scale.overflowed(loss, norm)
        cause = None if is_overflow else self._now.guard.judge(loss, norm)
        with self._clock.part("checkpoint"):
            self._writer.wait_for_copy()
        if is_overflow or cause is not None:
            self._optimizer.discard()
            self._observer.forget()
            if cause is None:
                self._remedy.leave_out(draw)
            else:
                self._remedy.drop(cause, draw, loss, norm)
            return None
        if is_observed:
            with self._clock.part("observe"):
                self._observer.before_update(max(1.0, norm / self._params.max_grad_norm))
        with self._clock.part("update"):
            self._optimizer.step(rate)
            self._team.data.copy_first(list(self._learnt.buffers.values()))
        self.tally.count(draw, loss)
        observed = None
        if is_observed:
            with self._clock.part("observe"):
                observed = self._observer.after_update(self.schedule.step + 1).as_dict()
        speed = draw.tokens / max(time.monotonic() - started, 1e-9)
        metrics = measured.metrics if scale == 1 else {**measured.metrics, "loss_scale": scale}
        point = self._point(loss, norm, rate, speed, metrics)
        return replace(point, observed=observed)

    def _point(
        self, loss: float, norm: float, rate: float, speed: float, metrics: Mapping[str, float]
    ) -> Point:
        tally = self.tally
        counts = (tally.tokens, tally.targets, tally.examples)
        step = self.schedule.step + 1
        return Point(step, loss, norm, rate, speed, *counts, self._clock.take(), dict(metrics))


def _tell_nobody(kind: str, detail: Mapping[str, Any]) -> None:
    """What ranks but the first do with their events."""
