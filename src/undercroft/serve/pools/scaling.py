"""How many replicas a model needs at the moment: a pure function of who waits and who is idle.

Up at once from none, and by one for every ``patience_s`` that somebody waits; down by one after
``idle_s`` in which one fewer would have been enough all the time. The second takes far longer than
the first, so that a load which comes and goes does not start and stop engines.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Scaler:
    """``wanted`` of ``least`` to ``most`` replicas, each with ``slots``; times are monotonic."""

    least: int
    most: int
    slots: int
    patience_s: float
    idle_s: float
    wanted: int = 0
    _waited_since: float | None = None
    _spare_since: float | None = None

    def __post_init__(self) -> None:
        self.wanted = max(1, self.least)

    def look(self, now: float, waiting: int, busy: int) -> int:
        """``wanted`` from now on, with so many requests waiting for a slot and holding one."""
        self._grow(now, waiting)
        self._shrink(now, waiting + busy)
        return self.wanted

    def _grow(self, now: float, waiting: int) -> None:
        if not waiting:
            self._waited_since = None
            return
        if self.wanted == 0:
            self.wanted = 1
        elif self._waited_since is not None and now - self._waited_since >= self.patience_s:
            self.wanted = min(self.most, self.wanted + 1)
            self._waited_since = now
        if self._waited_since is None:
            self._waited_since = now

    def _shrink(self, now: float, load: int) -> None:
        is_spare = self.wanted > self.least and load <= (self.wanted - 1) * self.slots
        if not is_spare:
            self._spare_since = None
        elif self._spare_since is None:
            self._spare_since = now
        elif now - self._spare_since >= self.idle_s:
            self.wanted -= 1
            self._spare_since = None
