"""The one training loop: draw -> forward and backward -> clip -> guard -> step -> log -> save.

A run that is killed goes on from its last checkpoint and ends with the same weights as one that
was not, given ``max_steps`` and the same number of threads. It may be several processes (`Team`),
which read different samples of each step and hold the same weights after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn

from undercroft.errors import StageFailed, StorageFull
from undercroft.settings import LoopSettings
from undercroft.train.drawing import Draw, Drawer
from undercroft.train.guard import Cause, Guard
from undercroft.train.heldout import Heldout, Patience
from undercroft.train.objectives.objective import Objective
from undercroft.train.observing import Observer
from undercroft.train.optimizer import MasterAdamW
from undercroft.train.parallel.placement import Part
from undercroft.train.parallel.plan import Plan
from undercroft.train.parallel.team import Alone, Team
from undercroft.train.passes import Passes
from undercroft.train.points import Clock, Point, Tally
from undercroft.train.reading import of_samples
from undercroft.train.samples.data import Sampler
from undercroft.train.schedule import Schedule
from undercroft.train.state import rng
from undercroft.train.state.checkpoint import Checkpoint, Event, Found, Store
from undercroft.train.state.saving import Writer

MAX_SKIPPED_IN_A_ROW = 5
_OBJECTIVE, _BUFFER = "objective.", "buffer."

S = TypeVar("S", bound=Sized)

Report = Callable[[Point, Schedule], None]


@runtime_checkable
class Stateful(Protocol):
    """An objective that changes as it goes, and so belongs in the checkpoint."""

    def state(self) -> Mapping[str, Tensor]: ...
    def load(self, state: Mapping[str, Tensor], /) -> None: ...


class Run(Generic[S]):
    """The state of one training run.

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
        self._team = team or Alone()
        self._beat = beat
        self._is_first = self._team.rank == 0
        rng.seed_all(params.seed + self._team.data.rank)
        self.model = model
        self._objective = objective
        self._samples = samples
        self._params = params
        self._section = section
        self._event: Event = event if self._is_first else _tell_nobody
        kept = model.state_dict()
        self._buffers = {name: each for name, each in model.named_buffers() if name in kept}
        self._optimizer = MasterAdamW(model, params.weight_decay, self._team, params.optimizer)
        self._sampler = Sampler(len(samples), params.seed)
        self._drawer = Drawer(objective, samples, self._sampler, self._team.data)
        self._passes = Passes(model, objective, self._drawer, self._team)
        self._guard = Guard(params.spike_threshold, params.guard_window)
        self._heldout = Heldout(model, objective, heldout, self._team, self._passes.look)
        self._patience = Patience(params.patience)
        self.schedule = Schedule(
            params.learning_rate, params.warmup_fraction, params.minutes * 60, params.max_steps
        )
        self.tally = Tally()
        self._clock = Clock()
        self._observer = Observer(model, self._optimizer.masters, params.observe_steps, self._team)
        self._store = Store(
            folder, config_digest, params.checkpoints_kept, self._event, self._team.apart()
        )
        self._writer = Writer(self._store.write)
        self._resume()

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
            while self.schedule.steps_left and not self._patience.is_out:
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
                is_saved = is_time or is_best or self._is_anchor
                if is_saved:
                    if self._is_first:
                        before_save()
                    self.save()
                    saved = time.monotonic()
                if is_saved or self._is_measured:  # the budget is wall-clock time
                    self.schedule.elapsed_s += self._team.from_first(time.monotonic() - started)
                self._tell_failures()
            self._take_best()
        finally:
            self._writer.finish()
        self._tell_failures()
        return self.tally

    def _measured(self, point: Point | None) -> tuple[Point | None, bool]:
        """``point`` with the held-out loss, if it is time, and whether that is the best so far."""
        if point is None or not self._is_measured:
            return point, False
        step = self.schedule.step
        with self._clock.part("heldout"):
            found = self._heldout.measure()
        is_best = self._patience.is_better(step, found["heldout_loss"])
        if is_best:
            self._store.pinned = step
        seconds = {**point.seconds, **self._clock.take()}
        return replace(point, metrics={**point.metrics, **found}, seconds=seconds), is_best

    def _take_best(self) -> None:
        """Take the weights that were best on what was held out, if those of now are not.

        The steps since then count as dropped: what they read is not in the model.
        """
        best, last = self._patience.best_step, self.schedule.step
        if best is not None:
            self.tally.best_step, self.tally.heldout_loss = best, self._patience.best
        detail = {"step": last, "best_step": best, "heldout_loss": self._patience.best}
        if self._patience.is_out:
            self.tally.stopped_early = last
            self._event("stopped_early", detail)
        if best is None or best == last:
            return
        self._writer.finish()
        found = self._store.read(exactly=best)
        if found is None:
            self._event("best_weights_lost", detail)
            return
        self._take_up(found)
        self.tally.drop(best + 1, last)
        self._event("best_weights_taken", detail)

    def save(self) -> None:
        """Begin to write a checkpoint of this very state."""
        with self._clock.part("checkpoint"):
            self._save()

    def keep(self) -> None:
        """Return when a checkpoint of this very state is written; raises `StorageFull` if none is
        to be had."""
        self.save()
        self._writer.finish()
        for step, why in self._writer.failures():
            raise StorageFull(
                f"The checkpoint of step {step} could not be written.",
                f"{why}.",
                "Make room and run the same command again; it goes on where it stopped.",
            )

    def _save(self) -> None:
        state = {
            "sampler": self._sampler.position,
            "schedule": asdict(self.schedule),
            "tally": asdict(self.tally),
            "guard": asdict(self._guard),
            "patience": asdict(self._patience),
            "plan": asdict(self._team.plan),
            "random": self._team.gather(rng.captured()),
        }
        is_good = self._guard.is_calm and (self._is_anchor or not self._params.checkpoint_steps)
        tensors, places = self._tensors()
        self._writer.begin(Checkpoint(self.schedule.step, tensors, state, is_good, places))

    @property
    def _is_measured(self) -> bool:
        return bool(self._heldout) and self.schedule.step % self._params.heldout_steps == 0

    @property
    def _is_anchor(self) -> bool:
        every = self._params.checkpoint_steps
        return bool(every) and self.schedule.step % every == 0

    def _tensors(self) -> tuple[dict[str, Tensor], dict[str, Part]]:
        """What this rank saves, and where it lies in the whole: the optimizer's as they are, which
        only its step changes; copies of all others."""
        stepped = self._optimizer.state()
        found = {name: each for name, (each, _) in stepped.items()}
        data, is_told = self._team.data.rank, self._passes.is_told
        if data == 0 and self._team.tensor.rank == 0:
            found |= {_BUFFER + name: each.clone() for name, each in self._buffers.items()}
        if is_told and isinstance(self._objective, Stateful):
            own = {f"{_OBJECTIVE}{data}.{n}": each for n, each in self._objective.state().items()}
            found |= {name: each.detach().clone() for name, each in own.items()}
        return found, {name: part for name, (_, part) in stepped.items()}

    def _resume(self) -> None:
        """Go on from the last checkpoint that is whole; else begin, if that is allowed."""
        self._store.tidy()
        found = self._store.read()
        if found is None:
            if self._params.require_resume:
                self._store.check_none_was_lost()
            return
        self._take_up(found)
        state = found.state
        self._sampler.position = state["sampler"]
        self.schedule = Schedule(**state["schedule"])
        self.tally = Tally(**state["tally"])
        self._guard = Guard(**state["guard"])
        self._patience = Patience(**state["patience"])
        self._store.pinned = self._patience.best_step
        if state["plan"] == asdict(self._team.plan):
            rng.restore(state["random"][self._team.rank])
        else:
            data = self._team.data
            rng.seed_all(self._params.seed + found.step * data.size + data.rank)
        self._event("resumed", {"step": found.step})

    def _take_up(self, found: Found) -> None:
        """The weights, moments, buffers and the objective's state of ``found``."""
        self._optimizer.load(found.tensors)
        for name, buffer in self._buffers.items():
            buffer.copy_(found.tensors[_BUFFER + name])
        if isinstance(self._objective, Stateful):
            rank, ranks = self._team.data.rank, Plan(**found.state["plan"]).data
            mine = f"{_OBJECTIVE}{rank if rank < ranks else 0}."
            own = {n: each for n, each in found.tensors.items() if n.startswith(mine)}
            self._objective.load({n.removeprefix(mine): each for n, each in own.items()})

    def _step(self) -> Point | None:
        """One optimizer step; None when the guard dropped it."""
        started = time.monotonic()
        with self._clock.part("draw"):
            draw = self._drawer.draw(self._params.batch_size)
            self.tally.note(draw, self._sampler.position)
        rate = self.schedule.rate()
        is_observed = self._observer.is_due(self.schedule.step + 1, self.schedule.elapsed_s)
        with self._clock.part("passes"), self._observer.activations(is_observed):
            measured = self._passes.run(draw)
        loss = measured.loss
        with self._clock.part("update"):
            norm = self._optimizer.gather(self._params.max_grad_norm)
        cause = self._guard.judge(loss, norm)
        with self._clock.part("checkpoint"):
            self._writer.wait_for_copy()
        if cause is not None:
            self._drop(cause, draw, loss, norm)
            return None
        if is_observed:
            with self._clock.part("observe"):
                self._observer.before_update(max(1.0, norm / self._params.max_grad_norm))
        with self._clock.part("update"):
            self._optimizer.step(rate)
            self._team.data.copy_first(list(self._buffers.values()))
        self.tally.count(draw, loss)
        observed = None
        if is_observed:
            with self._clock.part("observe"):
                observed = self._observer.after_update(self.schedule.step + 1).as_dict()
        speed = draw.tokens / max(time.monotonic() - started, 1e-9)
        point = self._point(loss, norm, rate, speed, measured.metrics)
        return replace(point, observed=observed)

    def _point(
        self, loss: float, norm: float, rate: float, speed: float, metrics: Mapping[str, float]
    ) -> Point:
        tally = self.tally
        counts = (tally.tokens, tally.targets, tally.examples)
        step = self.schedule.step + 1
        return Point(step, loss, norm, rate, speed, *counts, self._clock.take(), dict(metrics))

    def _drop(self, cause: Cause, draw: Draw, loss: float, norm: float) -> None:
        """Leave a bad step out, and do what else the guard asks for; each is an event."""
        self._optimizer.discard()
        self._observer.forget()
        step = self.schedule.step + 1
        self.tally.skipped += 1
        self.tally.drop(step, step)
        detail = {
            "step": step, "cause": cause, "loss": str(loss), "grad_norm": str(norm),
            "examples": draw.ids, "documents": self._documents(draw),
        }  # fmt: skip
        self._event("skipped_step", detail)
        if self._guard.not_finite_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise self._diverged(
                f"The loss was not finite in {MAX_SKIPPED_IN_A_ROW} steps in a row."
            )
        action = self._guard.action()
        if action == "roll back" and self._roll_back(detail):
            return
        if action != "skip":
            self.schedule.scale /= 2
            self.tally.halvings += 1
            self._event("halved_rate", {**detail, "scale": self.schedule.scale})

    def _documents(self, draw: Draw) -> list[str]:
        """Those that the step's samples are of."""
        read = of_samples(self._samples[each.number] for each in draw.all if each.examples)
        return list(dict.fromkeys(each.document for sample in read for each in sample))

    def _roll_back(self, detail: Mapping[str, Any]) -> bool:
        """Take the weights of the last good checkpoint; whether there was one.

        The clock and the sampler go on: the steps since then count as dropped, and what they read
        is not read again before its next turn.
        """
        if self._guard.rollbacks >= self._params.max_rollbacks:
            raise self._diverged(f"The run went back {self._guard.rollbacks} times, to no avail.")
        self._writer.finish()
        step = self.schedule.step + 1
        before = step if self._guard.before is None else self._guard.before
        found = self._store.read(good_before=before)
        if found is None:
            return False
        self._take_up(found)
        self._guard.rolled_back(found.step)
        self.tally.rollbacks += 1
        self.tally.drop(found.step + 1, step)
        span = (found.state["sampler"], self._sampler.position)
        self._event("rolled_back", {**detail, "to_step": found.step, "skipped_positions": span})
        return True

    def _diverged(self, what: str) -> StageFailed:
        return StageFailed(
            what,
            "Training has diverged.",
            f"Lower {self._section}.learning_rate, or set {self._section}.precision to fp32.",
        )

    def _tell_failures(self) -> None:
        for step, why in self._writer.failures():
            self._event("checkpoint_failed", {"step": step, "why": why})


def _tell_nobody(kind: str, detail: Mapping[str, Any]) -> None:
    """What ranks but the first do with their events."""
