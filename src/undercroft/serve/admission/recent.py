"""How often something happened lately, and what may happen in proportion to it."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]


class Recent:
    """A count over the last ``window_s``: that of the present window and, of the one before, the
    part that still lies within. Right to a few per cent, in two numbers."""

    def __init__(self, window_s: float, clock: Clock = time.monotonic) -> None:
        self._window_s = window_s
        self._clock = clock
        self._began = clock()
        self._present = self._before = 0.0

    def add(self) -> None:
        self._turn()
        self._present += 1

    @property
    def count(self) -> float:
        gone = self._turn()
        return self._present + self._before * (1 - gone)

    def like(self) -> Recent:
        """Another over the same time, of nothing yet."""
        return Recent(self._window_s, self._clock)

    def _turn(self) -> float:
        """Begin a new window where one is over; the share of the present one that is gone."""
        gone = (self._clock() - self._began) / self._window_s
        if gone >= 1:
            whole = int(gone)
            self._before = self._present if whole == 1 else 0.0
            self._present = 0.0
            self._began += whole * self._window_s
            gone -= whole
        return max(0.0, gone)


class Allowance:
    """Something extra that may be done for a ``share`` of what was ``asked`` lately, and ``least``
    times in any case. Without a bound, retries keep an overload alive that caused them (Finagle's
    ``RetryBudget``: 20 %, and ten a second)."""

    def __init__(self, share: float, least: int, asked: Recent) -> None:
        self._share = share
        self._least = least
        self._asked = asked
        self._taken = asked.like()

    def take(self) -> bool:
        """Whether it may be done now; if so, it is counted."""
        if self._taken.count + 1 > max(self._least, self._share * self._asked.count):
            return False
        self._taken.add()
        return True
