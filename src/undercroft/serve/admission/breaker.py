"""A circuit breaker for one replica, judged when an answer has ended.

A replica that accepts everything and breaks in mid-stream looks well at the start of each answer,
so only the end counts. Open, it gets nothing; after a rest one request tries it, and its end
decides (half-open with a single probe).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

LOOKS_BACK = 20  # answers
LONGEST_REST_S = 30.0


class Breaker:
    """Opens when ``failures`` of the last `LOOKS_BACK` answers broke, and at least half of them."""

    def __init__(
        self, failures: int, rest_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._failures = failures
        self._least_rest_s = self._rest_s = rest_s
        self._clock = clock
        self._ends: deque[bool] = deque(maxlen=LOOKS_BACK)
        self._broke = 0
        self._until = 0.0  # 0: closed
        self.is_probing = False

    @property
    def is_closed(self) -> bool:
        return self._until == 0.0

    @property
    def lets_in(self) -> bool:
        """Whether a request may go through: any, or the one that tries a rested replica."""
        return self._until == 0.0 or (not self.is_probing and self._clock() >= self._until)

    @property
    def rest_s(self) -> float:
        """Seconds until a request may try; 0 when one may now."""
        return max(0.0, self._until - self._clock()) if self._until else 0.0

    def enter(self) -> bool:
        """A request goes through; whether it is the one that tries."""
        self.is_probing = self._until > 0.0
        return self.is_probing

    def ended(self, is_well: bool | None, is_probe: bool = False) -> None:
        """An answer came to its end, or broke; None when it says nothing of the replica."""
        if is_probe:
            self.is_probing = False
        if is_well is None or (not self.is_closed and not is_probe):
            return
        if is_probe:
            if is_well:
                self.reset()
            else:
                self._rest_s = min(LONGEST_REST_S, 2 * self._rest_s)
                self._until = self._clock() + self._rest_s
            return
        if len(self._ends) == LOOKS_BACK:
            self._broke -= not self._ends[0]
        self._ends.append(is_well)
        self._broke += not is_well
        if not is_well and self._broke >= max(self._failures, len(self._ends) / 2):
            self._until = self._clock() + self._rest_s

    def reset(self) -> None:
        """As for a replica just started."""
        self._ends.clear()
        self._broke, self._until, self.is_probing = 0, 0.0, False
        self._rest_s = self._least_rest_s
