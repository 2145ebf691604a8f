"""How many requests at once a remote engine takes well, found out by its time to the first text.

The rule is that of Envoy's adaptive concurrency filter (gradient controller), after Netflix's
concurrency-limits::

    gradient = clamp(ideal * (1 + buffer) / median of the window, 0.5, 2)
    limit    = limit * gradient + sqrt(limit)

smoothed as in Netflix's Gradient2 (0.2), which also leaves the limit alone while less than half of
it is used. ``ideal`` is the shortest median of the last ten minutes. Envoy measures it by letting
three requests through for a while; answers here take seconds, so every `PROBE_EVERY` windows the
limit is halved for one window instead: under the limits this rule settles at, that is enough to
empty the engine's queue.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable

WINDOW_S = 0.25
LEAST_SAMPLES = 5
BUFFER = 0.5  # Gradient2's tolerance: prompts differ in length, and so do their times
SMOOTHING = 0.2
PROBE_EVERY = 240  # windows
REMEMBERED = 2400  # windows
LEAST = 1


class Limiter:
    """``limit`` slots, ``first`` of them to begin with and never more than ``most``."""

    def __init__(self, first: int, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = float(min(first, most))
        self._most = most
        self._clock = clock
        self._began = clock()
        self._samples: list[float] = []
        self._most_active = 0
        self._medians: deque[float] = deque(maxlen=REMEMBERED)
        self._windows = 0
        self._is_probing = False

    @property
    def limit(self) -> int:
        shown = self._limit / 2 if self._is_probing else self._limit
        return max(LEAST, int(shown))

    def dropped(self) -> None:
        """The engine itself said that it is overloaded."""
        self._limit = max(LEAST, self._limit * 0.9)

    def sample(self, first_s: float, active: int) -> None:
        """A first text came after ``first_s`` while ``active`` requests were under way."""
        self._samples.append(first_s)
        self._most_active = max(self._most_active, active)
        now = self._clock()
        if now - self._began >= WINDOW_S and len(self._samples) >= LEAST_SAMPLES:
            self._close(now)

    def _close(self, now: float) -> None:
        median = statistics.median(self._samples)
        used = self._most_active
        self._samples.clear()
        self._most_active, self._began = 0, now
        self._medians.append(median)
        self._windows += 1
        if self._is_probing:
            self._is_probing = False
            return
        if used * 2 >= self._limit:
            ideal = min(self._medians) * (1 + BUFFER)
            gradient = min(2.0, max(0.5, ideal / median)) if median > 0 else 2.0
            wanted = self._limit * gradient + math.sqrt(self._limit)
            self._limit += (wanted - self._limit) * SMOOTHING
            self._limit = min(self._most, max(LEAST, self._limit))
        self._is_probing = self._windows % PROBE_EVERY == 0
