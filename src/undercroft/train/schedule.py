"""The learning rate over a run whose length is known only as it goes.

Progress runs from 0 to 1 and each step takes an equal share of what is left. With ``max_steps``
the steps are given; otherwise they follow from the minutes left and the measured time of a step,
again after every step, so that training ends when its budget does even if the machine slows down.
The whole state is in the checkpoint: a resumed run goes on where it was.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

_ASSUMED_STEP_S = 4.0  # before the first step has been timed
_WINDOW = 8  # recent steps whose median is the time of a step
MIN_STEPS = 4


@dataclass
class Schedule:
    """Linear warm-up to ``peak``, then linear decay to zero at progress 1; all times ``scale``."""

    peak: float
    warmup_fraction: float
    budget_s: float
    max_steps: int = 0
    step: int = 0
    progress: float = 0.0
    elapsed_s: float = 0.0
    recent_s: list[float] = field(default_factory=list)
    scale: float = 1.0

    @property
    def steps_left(self) -> int:
        """Steps still to take, this one included; 0 when the run is done."""
        if self.max_steps:
            return max(0, self.max_steps - self.step)
        if self.step >= MIN_STEPS and self.elapsed_s + self.step_s / 2 > self.budget_s:
            return 0
        fitting = round((self.budget_s - self.elapsed_s) / self.step_s)
        return max(1, MIN_STEPS - self.step, fitting)

    @property
    def step_s(self) -> float:
        """Median seconds of the recent steps; the first is left out when there are others, since
        it pays for warming up."""
        recent = sorted(self.recent_s)
        return recent[len(recent) // 2] if recent else min(_ASSUMED_STEP_S, self.budget_s)

    @property
    def num_steps(self) -> int:
        """Steps of the whole run, as far as can be told now."""
        return self.step + self.steps_left

    def rate(self) -> float:
        """The learning rate of the step to come: that of its middle."""
        middle = self.progress + 0.5 * (1 - self.progress) / max(1, self.steps_left)
        if middle < self.warmup_fraction:
            return self.scale * self.peak * middle / self.warmup_fraction
        return self.scale * self.peak * (1 - middle) / (1 - self.warmup_fraction)

    def advance(self, seconds: float) -> None:
        """A step was taken and took ``seconds``."""
        self.progress += (1 - self.progress) / max(1, self.steps_left)
        self.step += 1
        self.elapsed_s += seconds
        window = deque(self.recent_s, maxlen=_WINDOW)
        if self.step == 2:
            window.clear()
        window.append(seconds)
        self.recent_s = list(window)

    def state(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def seconds_left(self) -> float:
        """Time to the end, by the measured time of a step."""
        left = self.steps_left * self.step_s
        return left if math.isfinite(left) else 0.0
