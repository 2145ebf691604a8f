"""Evidence that one arm of a trial does worse than the other, which may be looked at all the time.

Outcomes come in pairs, the n-th of the canary with the n-th of the control; a pair's difference d
is 1 when only the canary's went wrong, -1 when only the control's did, else 0. Someone bets on
"the canary is worse by more than m" with a fixed share of his money, d - m at a time: while that is
not so, he cannot expect to win, whatever the rates are and however they drift together. His money,
averaged over several shares, is the evidence; it passes 1/alpha with a probability of at most
alpha, ever (Ville's inequality; Waudby-Smith and Ramdas 2024, "Estimating means of bounded random
variables by betting").
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PRECISION = 1e-4

SHARES: Floats = np.geomspace(0.005, 0.95, 24)
"""What is bet of what may be lost at most: the best share is the mean difference over its mean
square, which is near 1 for rare errors that become common and near 0 for slight differences."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """How the pairs of a trial came out: ``worse`` or ``better`` for the canary, ``both`` bad or
    ``neither``."""

    worse: int = 0
    better: int = 0
    both: int = 0
    neither: int = 0

    def __len__(self) -> int:
        return self.worse + self.better + self.both + self.neither

    def plus(self, canary: bool, control: bool) -> Pairs:
        """With one more pair, of whether each was bad."""
        return Pairs(
            self.worse + (canary and not control),
            self.better + (control and not canary),
            self.both + (canary and control),
            self.neither + (not canary and not control),
        )

    @property
    def canary(self) -> float:
        """The canary's rate."""
        return (self.worse + self.both) / max(len(self), 1)

    @property
    def control(self) -> float:
        """The control's rate."""
        return (self.better + self.both) / max(len(self), 1)

    @property
    def mirrored(self) -> Pairs:
        """The same trial with the arms' names exchanged."""
        return Pairs(self.better, self.worse, self.both, self.neither)

    def log_evidence(self, margin: float = 0.0) -> float:
        """The logarithm of the evidence that the canary's rate is above the control's by more
        than ``margin``, a number between -1 and 1. It falls as ``margin`` grows."""
        shares = SHARES / (1 + margin)
        money = (
            self.worse * np.log1p(shares * (1 - margin))
            + (self.both + self.neither) * np.log1p(-shares * margin)
            + self.better * np.log1p(-shares * (1 + margin))
        )
        most = float(money.max())
        return most + math.log(float(np.exp(money - most).mean()))

    def bounds(self, alpha: float) -> tuple[float, float]:
        """Enclose the difference of rates at all times at once, with probability 1 - ``alpha``."""
        return self._least(alpha / 2), -self.mirrored._least(alpha / 2)

    def _least(self, alpha: float) -> float:
        """The largest margin that the evidence says is exceeded; -1 before it says anything."""
        low, high = -0.999, 0.999
        if self.log_evidence(low) < -math.log(alpha):
            return -1.0
        while high - low > PRECISION:
            middle = (low + high) / 2
            is_exceeded = self.log_evidence(middle) >= -math.log(alpha)
            low, high = (middle, high) if is_exceeded else (low, middle)
        return low


@dataclass(slots=True)
class Pairing:
    """Outcomes as they arrive, in any order, made into `Pairs`; those without a partner wait."""

    pairs: Pairs = field(default_factory=Pairs)
    canary: deque[bool] = field(default_factory=deque[bool])
    control: deque[bool] = field(default_factory=deque[bool])

    def add(self, is_canary: bool, is_bad: bool) -> None:
        """One more outcome of an arm."""
        (self.canary if is_canary else self.control).append(is_bad)
        if self.canary and self.control:
            self.pairs = self.pairs.plus(self.canary.popleft(), self.control.popleft())
