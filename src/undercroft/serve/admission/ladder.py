"""Lesser answers rather than none: the steps down from a full answer, and when each is taken.

`STEPS` is the whole list, in order. Each step has its condition: what it is taken at and, well
below that, what it is left at again, and it lasts a least time, so that nothing flaps. After the
last of them comes a clear error. What an answer lacked is said in its ``x-undercroft-degraded``
header under the step's name; components that fail are worked around one by one, by whoever uses
them, and say so in the same place.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Load:
    """How a pool fares: the wait for a slot as a share of the longest that is allowed, the share of
    the last requests that were turned away, and whether no replica is trusted with a request."""

    wait: float = 0.0
    shed: float = 0.0
    is_broken: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """``wait`` and ``shed`` are (taken from, left below)."""

    name: str
    what: str
    wait: tuple[float, float]
    shed: tuple[float, float]
    when_broken: bool = False

    def is_due(self, load: Load) -> bool:
        broken = self.when_broken and load.is_broken
        return broken or load.wait >= self.wait[0] or load.shed >= self.shed[0]

    def is_over(self, load: Load) -> bool:
        broken = self.when_broken and load.is_broken
        return not broken and load.wait < self.wait[1] and load.shed < self.shed[1]


SHORT, SPARSE, CHEAPER, STALE = "short", "sparse", "cheaper", "stale"

STEPS = (
    Step(SHORT, "answers are kept short", (0.25, 0.10), (0.02, 0.005)),
    Step(SPARSE, "half as many passages are read", (0.50, 0.25), (0.05, 0.01)),
    Step(CHEAPER, "the route's fallback answers, if any", (0.70, 0.35), (0.10, 0.02), True),
    Step(STALE, "what was answered before is said again", (0.85, 0.50), (0.20, 0.05), True),
)  # fmt: skip

LESSER = frozenset((SHORT, SPARSE, CHEAPER, STALE))


class Ladder:
    """Which steps are taken at the moment for the pool ``name``."""

    def __init__(
        self, name: str, least_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._least_s = least_s
        self._clock = clock
        self._taken: dict[str, float] = {}  # by name of the step, since when
        self.changes = 0

    @property
    def steps(self) -> tuple[str, ...]:
        return tuple(step.name for step in STEPS if step.name in self._taken)

    def __contains__(self, step: str) -> bool:
        return step in self._taken

    def look(self, load: Load) -> None:
        """Take and leave steps as ``load`` says."""
        for step in STEPS:
            since = self._taken.get(step.name)
            if since is None and step.is_due(load):
                self._taken[step.name] = self._clock()
                self._tell(f"from now on {step.what}", load)
            elif since is not None and self._is_past(since) and step.is_over(load):
                del self._taken[step.name]
                self._tell(f"it is over that {step.what}", load)

    def _is_past(self, since: float) -> bool:
        return self._clock() - since >= self._least_s

    def _tell(self, what: str, load: Load) -> None:
        self.changes += 1
        log.warning(
            "%s: %s (wait %.0f %%, turned away %.0f %%%s)", self._name, what, 100 * load.wait,
            100 * load.shed, ", no replica is trusted" if load.is_broken else "",
        )  # fmt: skip
