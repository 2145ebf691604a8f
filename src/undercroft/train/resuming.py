"""What a run takes down in its checkpoints, and how it is taken up again.

A checkpoint is of one state: the tensors that training changes, where the run stands, and the
random numbers to come. All of it is taken up when a run goes on; the tensors alone when it goes
back to better weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from undercroft.errors import StorageFull
from undercroft.settings import LoopSettings
from undercroft.train.optimizer import MasterAdamW
from undercroft.train.parallel.placement import Part
from undercroft.train.parallel.plan import Plan
from undercroft.train.parallel.team import Team
from undercroft.train.standing import Standing
from undercroft.train.state import rng
from undercroft.train.state.checkpoint import Checkpoint, Event, Found, Store
from undercroft.train.state.saving import Writer

_OBJECTIVE, _BUFFER = "objective.", "buffer."


@runtime_checkable
class Stateful(Protocol):
    """An objective that changes as it goes, and so belongs in the checkpoint."""

    def state(self) -> Mapping[str, Tensor]: ...
    def load(self, state: Mapping[str, Tensor], /) -> None: ...


@dataclass
class Learnt:
    """The tensors that training changes: the optimizer's, the model's buffers, the objective's.

    ``is_told``: this rank is the one that keeps the objective's state of its data rank.
    """

    model: nn.Module
    objective: Any
    optimizer: MasterAdamW
    team: Team
    is_told: bool
    buffers: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        kept = self.model.state_dict()
        self.buffers = {name: each for name, each in self.model.named_buffers() if name in kept}

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Part]]:
        """What this rank saves, and where it lies in the whole: the optimizer's as they are, which
        only its step changes; copies of all others."""
        stepped = self.optimizer.state()
        found = {name: each for name, (each, _) in stepped.items()}
        data = self.team.data.rank
        if data == 0 and self.team.tensor.rank == 0:
            found |= {_BUFFER + name: each.clone() for name, each in self.buffers.items()}
        if self.is_told and isinstance(self.objective, Stateful):
            own = {f"{_OBJECTIVE}{data}.{n}": each for n, each in self.objective.state().items()}
            found |= {name: each.detach().clone() for name, each in own.items()}
        return found, {name: part for name, (_, part) in stepped.items()}

    def take_up(self, found: Found) -> None:
        """The weights, moments, buffers and the objective's state of ``found``."""
        self.optimizer.load(found.tensors)
        for name, buffer in self.buffers.items():
            buffer.copy_(found.tensors[_BUFFER + name])
        if isinstance(self.objective, Stateful):
            rank, ranks = self.team.data.rank, Plan(**found.state["plan"]).data
            mine = f"{_OBJECTIVE}{rank if rank < ranks else 0}."
            own = {n: each for n, each in found.tensors.items() if n.startswith(mine)}
            self.objective.load({n.removeprefix(mine): each for n, each in own.items()})


class Keeper:
    """Saves what a run has ``learnt`` and where it is ``now``, and gives it back.

    All ranks of the team call the same methods. ``folder`` is shared by them; checkpoints in it
    that were made with another ``config_digest`` are left alone.
    """

    def __init__(
        self,
        learnt: Learnt,
        now: Standing,
        params: LoopSettings,
        *,
        folder: Path,
        config_digest: str,
        event: Event,
    ) -> None:
        self._learnt = learnt
        self._now = now
        self._params = params
        self._team = learnt.team
        self._event = event
        self.store = Store(
            folder, config_digest, params.checkpoints_kept, event, self._team.apart()
        )
        self.writer = Writer(self.store.write)

    @property
    def is_anchor(self) -> bool:
        """Whether a checkpoint is due by the number of steps."""
        every = self._params.checkpoint_steps
        return bool(every) and self._now.schedule.step % every == 0

    def save(self) -> None:
        """Begin to write a checkpoint of this very state."""
        state = {
            **self._now.as_state(),
            "plan": asdict(self._team.plan),
            "random": self._team.gather(rng.captured(self._team.device)),
        }
        is_good = self._now.guard.is_calm and (self.is_anchor or not self._params.checkpoint_steps)
        tensors, places = self._learnt.tensors()
        self.writer.begin(Checkpoint(self._now.schedule.step, tensors, state, is_good, places))

    def finish(self) -> None:
        """Return when what was begun is written; raises `StorageFull` if it could not be."""
        self.writer.finish()
        for step, why in self.writer.failures():
            raise StorageFull(
                f"The checkpoint of step {step} could not be written.",
                f"{why}.",
                "Make room and run the same command again; it goes on where it stopped.",
            )

    def tell_failures(self) -> None:
        """An event for each checkpoint that could not be written since this was called last."""
        for step, why in self.writer.failures():
            self._event("checkpoint_failed", {"step": step, "why": why})

    def resume(self) -> None:
        """Go on from the last checkpoint that is whole; else begin, if that is allowed."""
        self.store.tidy()
        found = self.store.read()
        if found is None:
            if self._params.require_resume:
                self.store.check_none_was_lost()
            return
        self._learnt.take_up(found)
        self._now.take_up(found.state)
        self.store.pinned = self._now.patience.best_step
        if found.state["plan"] == asdict(self._team.plan):
            rng.restore(found.state["random"][self._team.rank], self._team.device)
        else:
            data = self._team.data
            rng.seed_all(self._params.seed + found.step * data.size + data.rank)
        self._event("resumed", {"step": found.step})

    def go_back(self, before: int) -> Found | None:
        """Take up the weights of the last good checkpoint before a step, if there is one.

        The clock and the sampler go on.
        """
        self.writer.finish()
        found = self.store.read(good_before=before)
        if found is not None:
            self._learnt.take_up(found)
        return found

    def take_best(self) -> None:
        """Take the weights that were best on what was held out, if those of now are not.

        The steps since then count as dropped: what they read is not in the model.
        """
        patience, tally = self._now.patience, self._now.tally
        best, last = patience.best_step, self._now.schedule.step
        if best is not None:
            tally.best_step, tally.heldout_loss = best, patience.best
        detail = {"step": last, "best_step": best, "heldout_loss": patience.best}
        if patience.is_out:
            tally.stopped_early = last
            self._event("stopped_early", detail)
        if best is None or best == last:
            return
        self.writer.finish()
        found = self.store.read(exactly=best)
        if found is None:
            self._event("best_weights_lost", detail)
            return
        self._learnt.take_up(found)
        tally.drop(best + 1, last)
        self._event("best_weights_taken", detail)
