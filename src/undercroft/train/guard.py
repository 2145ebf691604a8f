"""Whether a step may change the weights, and what is done when it may not.

A step is bad when its loss or gradient is not finite, or when both stand out of the steps before
it. Its update is always left out. The next bad step soon after also halves the learning rate, and
one more takes the weights back to the last good checkpoint: what was read since is not read again,
as in "PaLM: Scaling Language Modeling with Pathways" (Chowdhery et al., 2022, section 5.1).

How far a step stands out is the modified z-score of Iglewicz and Hoaglin ("How to Detect and Handle
Outliers", 1993): the distance to the median of the steps before, in units of 1.4826 times their
median absolute deviation, which for normal values is the standard deviation. Neither moves when
some of the values are far off. All decisions follow from numbers that are in the checkpoint.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

SIGMA_PER_MAD = 1.4826
_LEAST_SPREAD = 0.02  # of the loss or norm: a window that hardly varies makes no outliers
HALVE_AT, ROLL_BACK_AT = 2, 3

Cause = Literal["not finite", "spike"]
Action = Literal["skip", "halve", "roll back"]


@dataclass
class Guard:
    """The steps of late, and how many of them were bad.

    ``threshold`` is how many deviations stand out; 0: spikes are let pass. ``window`` steps are
    looked back to, and as many sound ones in a row make the bad ones before them forgotten.
    ``before`` is the step below which a checkpoint must be for the run to go back to it.
    """

    threshold: float
    window: int
    losses: list[float] = field(default_factory=list[float])
    log_norms: list[float] = field(default_factory=list[float])
    strikes: int = 0
    sound_in_a_row: int = 0
    not_finite_in_a_row: int = 0
    rollbacks: int = 0
    before: int | None = None

    @property
    def is_calm(self) -> bool:
        """No bad step is remembered: a checkpoint of now is good."""
        return self.strikes == 0

    def judge(self, loss: float, norm: float) -> Cause | None:
        """What is wrong with a step of this loss and norm of the gradient; it is remembered."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.not_finite_in_a_row += 1
            return self._bad("not finite")
        self.not_finite_in_a_row = 0
        log_norm = math.log(max(norm, 1e-30))
        stands_out = self._stands_out(loss, log_norm)
        self.losses = [*self.losses, loss][-self.window :]
        self.log_norms = [*self.log_norms, log_norm][-self.window :]
        if stands_out:
            return self._bad("spike")
        self.sound_in_a_row += 1
        if self.sound_in_a_row >= self.window:
            self.strikes, self.before = 0, None
        return None

    def action(self) -> Action:
        """What the bad step that was judged last asks for."""
        if self.strikes >= ROLL_BACK_AT:
            return "roll back"
        return "halve" if self.strikes == HALVE_AT else "skip"

    def rolled_back(self, to_step: int) -> None:
        """The weights are those of ``to_step``: what was measured since says nothing of them.

        If that was not far enough, the next time it goes back further.
        """
        self.rollbacks += 1
        self.strikes = 1
        self.before = to_step
        self.losses, self.log_norms = [], []

    def _bad(self, cause: Cause) -> Cause:
        self.strikes += 1
        self.sound_in_a_row = 0
        return cause

    def _stands_out(self, loss: float, log_norm: float) -> bool:
        if not self.threshold or len(self.losses) < max(8, self.window // 2):
            return False
        least = _LEAST_SPREAD * abs(statistics.median(self.losses))
        return (
            deviations(loss, self.losses, least) > self.threshold
            and deviations(log_norm, self.log_norms, _LEAST_SPREAD) > self.threshold
        )


def deviations(value: float, others: Sequence[float], least: float) -> float:
    """How far ``value`` is above the median of ``others``, in robust standard deviations.

    A deviation is ``least`` or more, which is above 0 unless all of ``others`` are 0.
    """
    middle = statistics.median(others)
    spread = SIGMA_PER_MAD * statistics.median(abs(each - middle) for each in others)
    return (value - middle) / max(spread, least, 1e-12)
