"""Which ranks hang, judged by the pulses that all give.

Ranks wait for each other several times a step, so that one that hangs stops all. Two things tell
which: a process that is stopped does not tick, and one that hangs in its own part has gone on less
often than those that wait for it.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from undercroft.train.launch.signs import Pulse

STEPS_ALLOWED = 10
"""A step may take so many times the median of recent ones."""
START_ALLOWED = 10
"""Whatever comes before the first step may take so many times the time allowed for a step."""
_WINDOW = 32


@dataclass(frozen=True, slots=True)
class Hung:
    """The ranks that do not go on, and how that was seen."""

    ranks: tuple[int, ...]
    why: str


class Vigil:
    """Watches over ``size`` ranks; ``timeout_s`` is the least time they may give no sign.

    Times are whatever clock `look` is given, in seconds.
    """

    def __init__(self, size: int, timeout_s: float, now: float) -> None:
        self._timeout_s = timeout_s
        self._last = [Pulse()] * size
        self._ticked = [now] * size
        self._went_on = now
        self._stepped = now
        self._looked = now
        self._step_s: deque[float] = deque(maxlen=_WINDOW)

    @property
    def allowed_s(self) -> float:
        """How long no rank may go on before all are held to hang."""
        if not self._step_s:
            return START_ALLOWED * self._timeout_s
        return max(self._timeout_s, STEPS_ALLOWED * statistics.median(self._step_s))

    def look(self, pulses: Sequence[Pulse], now: float, *, is_saving: bool = False) -> Hung | None:
        """Take note of ``pulses``; who hangs, if any do.

        While a checkpoint is written the disk decides how long a step takes.
        """
        self._forgive(now)
        for rank, (before, pulse) in enumerate(zip(self._last, pulses, strict=True)):
            if pulse.ticks != before.ticks:
                self._ticked[rank] = now
            if pulse.beats != before.beats:
                self._went_on = now
        self._time(pulses[0].step, now)
        self._last = list(pulses)
        frozen = tuple(
            rank
            for rank, since in enumerate(self._ticked)
            if pulses[rank].ticks and now - since > self._timeout_s
        )
        if frozen:
            return Hung(frozen, f"stopped: no sign of life for {self._timeout_s:.0f} s")
        allowed = self.allowed_s * (START_ALLOWED if is_saving else 1)
        if now - self._went_on <= allowed:
            return None
        fewest = min(pulse.beats for pulse in pulses)
        behind = tuple(n for n, pulse in enumerate(pulses) if pulse.beats == fewest)
        return Hung(behind, f"hung: nothing done for {allowed:.0f} s")

    def _time(self, step: int, now: float) -> None:
        """Note how long the steps took that the first rank has gone on by."""
        steps = step - self._last[0].step
        if steps > 0:
            if self._last[0].step > 0:
                self._step_s.append((now - self._stepped) / steps)
            self._stepped = now

    def _forgive(self, now: float) -> None:
        """Where we ourselves were stopped, as when a laptop sleeps, so may have been the ranks."""
        missed = now - self._looked
        self._looked = now
        if missed > self._timeout_s / 2:
            self._ticked = [since + missed for since in self._ticked]
            self._went_on += missed
