"""What is done about a step that the guard found bad: left out, slowed down for, or gone back from.

Each is an event that names what the step read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from undercroft.errors import StageFailed
from undercroft.settings import LoopSettings
from undercroft.train.drawing import Draw
from undercroft.train.guard import Cause
from undercroft.train.reading import of_samples
from undercroft.train.resuming import Keeper
from undercroft.train.standing import Standing
from undercroft.train.state.checkpoint import Event

MAX_SKIPPED_IN_A_ROW = 5


class Remedy:
    """Carries out what the guard of ``now`` asks for; ``samples`` are what steps read.

    ``section`` is the one of the settings that ``params`` are, for what errors advise.
    """

    def __init__(
        self,
        now: Standing,
        keeper: Keeper,
        params: LoopSettings,
        samples: Sequence[Any],
        *,
        event: Event,
        section: str,
    ) -> None:
        self._now = now
        self._keeper = keeper
        self._params = params
        self._samples = samples
        self._event = event
        self._section = section

    def leave_out(self, draw: Draw) -> None:
        """Count the step that read ``draw`` as dropped: its gradient was too large for its scale,
        which is no fault of what was read."""
        now = self._now
        step = now.schedule.step + 1
        now.tally.overflows += 1
        now.tally.drop(step, step)
        self._event("scale_halved", {"step": step, "scale": now.scale.scale, "examples": draw.ids})

    def drop(self, cause: Cause, draw: Draw, loss: float, norm: float) -> None:
        """Count the step that read ``draw`` as dropped, and do what else is asked for.

        Raises `StageFailed` for a run that has diverged.
        """
        now = self._now
        step = now.schedule.step + 1
        now.tally.skipped += 1
        now.tally.drop(step, step)
        detail = {
            "step": step, "cause": cause, "loss": str(loss), "grad_norm": str(norm),
            "examples": draw.ids, "documents": self._documents(draw),
        }  # fmt: skip
        self._event("skipped_step", detail)
        if now.guard.not_finite_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise self._diverged(
                f"The loss was not finite in {MAX_SKIPPED_IN_A_ROW} steps in a row."
            )
        action = now.guard.action()
        if action == "roll back" and self._roll_back(detail):
            return
        if action != "skip":
            now.schedule.scale /= 2
            now.tally.halvings += 1
            self._event("halved_rate", {**detail, "scale": now.schedule.scale})

    def _documents(self, draw: Draw) -> list[str]:
        """Those that the step's samples are of."""
        read = of_samples(self._samples[each.number] for each in draw.all if each.examples)
        return list(dict.fromkeys(each.document for sample in read for each in sample))

    def _roll_back(self, detail: Mapping[str, Any]) -> bool:
        """Take the weights of the last good checkpoint; whether there was one.

        The steps since then count as dropped, and what they read is not read again before its next
        turn.
        """
        now = self._now
        if now.guard.rollbacks >= self._params.max_rollbacks:
            raise self._diverged(f"The run went back {now.guard.rollbacks} times, to no avail.")
        step = now.schedule.step + 1
        found = self._keeper.go_back(step if now.guard.before is None else now.guard.before)
        if found is None:
            return False
        now.guard.rolled_back(found.step)
        now.tally.rollbacks += 1
        now.tally.drop(found.step + 1, step)
        span = (found.state["sampler"], now.sampler.position)
        self._event("rolled_back", {**detail, "to_step": found.step, "skipped_positions": span})
        return True

    def _diverged(self, what: str) -> StageFailed:
        return StageFailed(
            what,
            "Training has diverged.",
            f"Lower {self._section}.learning_rate, or set {self._section}.precision to fp32.",
        )
