"""The line in front of a pool: weighted lanes, and in each of them tenants in turn.

Between lanes: start-time fair queueing (Goyal, Vin and Cheng, 1996). Each lane has the virtual time
at which its next request is due, ``1 / weight`` after its last; the lane due first is served. A
wait brings that time forward, so that whoever has waited for ``aging_s`` is due now.

Between tenants of a lane: deficit round robin (Shreedhar and Varghese, 1996) over tokens. At each
visit a tenant is given `QUANTUM` tokens times its share, and its first request is served once it
costs no more than the tenant has.

When there is no room: the youngest of the lowest lane gives way to a higher one, and in the same
lane the youngest of the tenant with the longest queue (longest queue drop, McKenney 1990).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from undercroft.serve.admission.claim import LANES, Claim
from undercroft.serve.wire.asks import Lane

QUANTUM = 1000.0  # tokens
MOST_COST = 64 * QUANTUM  # a larger request counts as this: its turn must come within a few visits

T = TypeVar("T")


class Waiter(Generic[T]):
    """A claim that waits since ``since`` (monotonic) for its ``turn``."""

    __slots__ = ("claim", "since", "turn")

    def __init__(self, claim: Claim, since: float, turn: asyncio.Future[T]) -> None:
        self.claim = claim
        self.since = since
        self.turn = turn


class _Tenants(Generic[T]):
    """Those who wait in one lane, by tenant."""

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.due = 0.0
        self.queues: OrderedDict[str, deque[Waiter[T]]] = OrderedDict()  # the next to visit first
        self._credit: dict[str, float] = {}

    def __len__(self) -> int:
        return sum(map(len, self.queues.values()))

    def add(self, waiter: Waiter[T]) -> None:
        tenant = waiter.claim.tenant
        if tenant not in self.queues:
            self.queues[tenant] = deque()
            self._credit[tenant] = 0.0
        self.queues[tenant].append(waiter)

    def first(self) -> Waiter[T] | None:
        """Whose turn it is. It stays theirs until they are removed."""
        while self.queues:
            tenant, queue = next(iter(self.queues.items()))
            cost = min(MOST_COST, queue[0].claim.cost)
            if self._credit[tenant] >= cost:
                return queue[0]
            if len(self.queues) == 1:
                self._credit[tenant] = cost
            else:
                self._credit[tenant] += QUANTUM * queue[0].claim.share
                self.queues.move_to_end(tenant)
        return None

    def remove(self, waiter: Waiter[T], is_served: bool) -> None:
        tenant = waiter.claim.tenant
        queue = self.queues[tenant]
        queue.remove(waiter)
        if is_served:
            self._credit[tenant] -= min(MOST_COST, waiter.claim.cost)
        if not queue:  # who has nothing waiting saves nothing up
            del self.queues[tenant], self._credit[tenant]

    def heaviest(self) -> str | None:
        return max(self.queues, key=lambda tenant: len(self.queues[tenant]), default=None)


class Line(Generic[T]):
    """Everybody who waits. ``weights`` are those of the lanes."""

    def __init__(self, weights: Mapping[Lane, float], aging_s: float) -> None:
        self._lanes = {lane: _Tenants[T](weights[lane]) for lane in LANES}
        self._aging_s = aging_s
        self._now = 0.0  # virtual
        self.tokens = 0  # to be read of all who wait
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Waiter[T]]:
        for tenants in self._lanes.values():
            for queue in tenants.queues.values():
                yield from queue

    def ahead_of(self, lane: Lane) -> int:
        """How many wait in this lane and those above it."""
        return sum(len(self._lanes[each]) for each in LANES[: LANES.index(lane) + 1])

    def add(self, waiter: Waiter[T]) -> None:
        tenants = self._lanes[waiter.claim.lane]
        if not tenants.queues:
            tenants.due = max(tenants.due, self._now + 1 / tenants.weight)
        tenants.add(waiter)
        self.tokens += waiter.claim.tokens
        self._length += 1

    def leave(self, waiter: Waiter[T]) -> None:
        """Take out somebody who does not wait any more, and perhaps is out already."""
        if waiter in self._lanes[waiter.claim.lane].queues.get(waiter.claim.tenant, ()):
            self._remove(waiter)

    def next(self, now: float, may: Callable[[Lane], bool]) -> Waiter[T] | None:
        """Take out whose turn it is among the lanes that ``may`` be served; None when nobody."""
        candidates = [
            (self._due(tenants, waiter, now), tenants.due, waiter)
            for lane, tenants in self._lanes.items()
            if tenants.queues and may(lane) and (waiter := tenants.first()) is not None
        ]
        if not candidates:
            return None
        waiter = min(candidates, key=lambda one: one[:2])[2]
        tenants = self._lanes[waiter.claim.lane]
        self._now = max(self._now, tenants.due)
        tenants.due += 1 / tenants.weight
        self._remove(waiter, is_served=True)
        return waiter

    def gives_way(self, claim: Claim) -> Waiter[T] | None:
        """Take out the one who has to go so that ``claim`` can wait; None when ``claim`` has to."""
        for lane in reversed(LANES):
            tenants = self._lanes[lane]
            heaviest = tenants.heaviest()
            if heaviest is None:
                continue
            if lane == claim.lane:
                own = len(tenants.queues.get(claim.tenant, ()))
                if len(tenants.queues[heaviest]) <= own + 1:
                    return None
            elif LANES.index(lane) < LANES.index(claim.lane):
                return None
            victim = tenants.queues[heaviest][-1]
            self._remove(victim)
            return victim
        return None

    def _due(self, tenants: _Tenants[T], waiter: Waiter[T], now: float) -> float:
        young = max(0.0, 1 - (now - waiter.since) / self._aging_s)
        return self._now + max(0.0, tenants.due - self._now) * young

    def _remove(self, waiter: Waiter[T], is_served: bool = False) -> None:
        self._lanes[waiter.claim.lane].remove(waiter, is_served)
        self.tokens -= waiter.claim.tokens
        self._length -= 1
