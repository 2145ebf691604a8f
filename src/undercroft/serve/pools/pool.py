"""A pool: the replicas behind one model, and the bounded line in front of their slots.

`keeper` keeps the replicas running; who is next is for `admission.line` to say. Whatever cannot be
answered in time is refused at once, and what waits gives way to what matters more. A waiter that is
cancelled leaves the line and disturbs nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from undercroft.errors import EngineFailed, Overloaded
from undercroft.serve.admission.breaker import Breaker
from undercroft.serve.admission.claim import LANES, Claim
from undercroft.serve.admission.ladder import Ladder, Load
from undercroft.serve.admission.limiter import Limiter
from undercroft.serve.admission.line import Line, Waiter
from undercroft.serve.admission.pace import Pace
from undercroft.serve.admission.recent import Allowance, Recent
from undercroft.serve.pools import affinity
from undercroft.serve.pools.affinity import Beginnings
from undercroft.serve.pools.keeper import Keeper
from undercroft.serve.pools.replicas import Replica
from undercroft.serve.pools.scaling import Scaler
from undercroft.serve.pools.seat import Lease, Seat
from undercroft.serve.wire.asks import Lane
from undercroft.serve.wire.failures import TooManyRequests
from undercroft.settings import AdmissionSettings

HOPELESS_AFTER = 5  # failed starts in a row after which requests are refused at once
GUESSED_ANSWER_S = 2.0  # until some were seen
LOOKS_BACK_S = 10.0
LEAST_SHED = 10
BROKEN = "The model's engines keep breaking."


class Pool:
    """See the module. ``name`` is the ref of the model it serves."""

    def __init__(
        self,
        name: str,
        replicas: Sequence[Replica],
        queue: int,
        queue_timeout_s: float,
        *,
        scaler: Scaler | None = None,
        rules: AdmissionSettings | None = None,
    ) -> None:
        rules = rules or AdmissionSettings()
        self.name = name
        self.seats = [_seat(replica, rules) for replica in replicas]
        self.pace = Pace()
        self.inside = 0  # requests admitted and not yet answered
        self.spoke_at = 0.0  # when an engine last said something, monotonic
        self.being_checked = asyncio.Lock()
        self.asked = Recent(LOOKS_BACK_S)
        self.shed = Recent(LOOKS_BACK_S)
        self.retries = Allowance(rules.retry_share, rules.retry_least, self.asked)
        self.hedges = Allowance(rules.hedge_share, 1, self.asked)
        self.ladder = Ladder(name, rules.degrade_least_s)
        self._rules = rules
        self._queue = queue
        self._queue_timeout_s = queue_timeout_s
        self._reserves: dict[Lane, float] = {
            "interactive": rules.interactive_reserve, "batch": rules.batch_reserve,
            "background": 0.0,
        }  # fmt: skip
        self._line: Line[Lease] = Line(
            {
                "interactive": rules.interactive_weight, "batch": rules.batch_weight,
                "background": rules.background_weight,
            },
            rules.aging_s,
        )  # fmt: skip
        self._keeper = Keeper(
            name, self.seats, self.pace, scaler=scaler,
            hang_s=rules.hang_s, check_idle_s=rules.check_idle_s,
            tick=self._tick, load=lambda: (self.waiting, self.busy),
        )  # fmt: skip

    async def start(self) -> None:
        """Start the replicas that are wanted, at least one, and keep them running. Raises
        `EngineFailed` when none starts."""
        await self._keeper.start()

    async def stop(self, grace_s: float) -> None:
        """Let requests inside finish for ``grace_s``, then stop the replicas."""
        deadline = time.monotonic() + grace_s
        while self.inside and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        await self._keeper.stop()

    @property
    def waiting(self) -> int:
        return len(self._line)

    @property
    def busy(self) -> int:
        return sum(len(seat.leases) for seat in self.seats)

    @property
    def slots(self) -> int:
        """How many requests it answers at once, with all replicas running."""
        return sum(seat.slots for seat in self.seats)

    @property
    def restarts(self) -> int:
        return self._keeper.restarts

    @property
    def hangs(self) -> int:
        return self._keeper.hangs

    @property
    def alive(self) -> bool:
        """Whether it answers, or would after waking up."""
        return self.asleep or any(seat.ready for seat in self.seats)

    @property
    def asleep(self) -> bool:
        """Whether nobody needed a replica for a while, so that none runs."""
        return not any(seat.wanted for seat in self.seats)

    @property
    def is_broken(self) -> bool:
        """Whether no replica is trusted with a request now."""
        return all(not seat.breaker.lets_in for seat in self.seats) or self._is_hopeless

    @property
    def resting(self) -> int:
        """How many replicas broke too often to be trusted without a trial."""
        return sum(not seat.breaker.is_closed for seat in self.seats)

    @property
    def _is_hopeless(self) -> bool:
        return all(seat.failures >= HOPELESS_AFTER for seat in self.seats)

    def _tick(self) -> None:
        self._hand_out()  # a breaker may have rested enough, a limit may have grown
        is_tried = any(seat.breaker.is_probing for seat in self.seats)
        if self.is_broken and not is_tried:
            for waiter in list(self._line):
                self._turn_away(waiter, BROKEN)
        if self._rules.degrade:
            self.ladder.look(self._load())

    def _load(self) -> Load:
        """How it fares. Few refusals are no share of anything."""
        wait_s, shed = self.expected_wait_s() or 0.0, self.shed.count
        share = shed / max(shed, self.asked.count) if shed >= LEAST_SHED else 0.0
        return Load(wait_s / self._queue_timeout_s, share, self.is_broken)

    def want(self, count: int) -> None:
        """Have so many replicas run."""
        self._keeper.want(count)

    # Into the pool

    @contextmanager
    def admit(self, claim: Claim) -> Iterator[None]:
        """A place inside for one request. Raises `TooManyRequests` when there is none, or when its
        turn would come too late."""
        self.asked.add()
        self._refuse_the_hopeless(claim)
        if self.inside >= self.slots + self._queue:
            victim = self._line.gives_way(claim)
            if victim is None:
                raise self._too_busy("The model is busy.", claim.lane)
            self._turn_away(victim, "A request that matters more took the place.")
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    def _refuse_the_hopeless(self, claim: Claim) -> None:
        if self._is_hopeless:
            raise TooManyRequests(
                "The model's engine does not start.", do="See the log.", retry_after_s=10.0
            )
        if self.is_broken:
            raise self._too_busy(BROKEN, claim.lane)
        wait_s = self.expected_wait_s(claim.lane)
        if not wait_s:
            return
        if wait_s > min(self._queue_timeout_s, claim.deadline - time.monotonic()):
            raise self._too_busy("The answer would not come in time.", claim.lane)
        speed, target_s = self.pace.tokens_per_s, self._rules.target_first_s
        ahead = self._line.tokens
        if ahead and speed and target_s and ahead + claim.tokens > target_s * speed:
            raise self._too_busy("Too much waits to be read.", claim.lane)

    def expected_wait_s(self, lane: Lane = LANES[0]) -> float | None:
        """How long a request of ``lane`` would wait for a slot; None while nobody knows."""
        if not self._line and any(seat.free > 0 for seat in self.seats):
            return 0.0
        answer_s = self.pace.answer_s
        if answer_s is None:
            return None
        return answer_s * (self._line.ahead_of(lane) + 1) / max(1, self.slots)

    # A slot

    @asynccontextmanager
    async def slot(self, claim: Claim) -> AsyncIterator[Lease]:
        """Wait for a slot until the queue's time limit or the claim's deadline, and hold it. What
        the block raises tells how the replica did.

        Raises `TooManyRequests` when the wait was in vain, and `EngineFailed` where the engine was
        given up while the block listened to it.
        """
        lease = None if self._line else self._take(claim.lane, asked=claim.beginnings)
        if lease is None:
            lease = await self._wait(claim)
        async with self.held(lease):
            yield lease

    @asynccontextmanager
    async def held(self, lease: Lease) -> AsyncIterator[Lease]:
        """Give ``lease`` back at the end of the block, and learn from it."""
        is_well: bool | None = None
        lease.task = asyncio.current_task()
        try:
            yield lease
            is_well = True
        except EngineFailed:
            if lease.seat.ready or lease.is_probe:  # else the same fault broke others, and counted
                is_well = False
            lease.seat.suspect()
            raise
        except Overloaded:
            if lease.seat.limiter is not None:
                lease.seat.limiter.dropped()
            raise
        except asyncio.CancelledError:
            if not lease.is_abandoned or lease.task is None:
                raise
            lease.task.uncancel()
            is_well = False
            raise EngineFailed(
                "The engine was silent for too long.", "It does not react.", "Try again."
            ) from None
        finally:
            self._learn(lease, is_well)
            lease.end(is_well)
            self._hand_out()

    def spare(self, lane: Lane, but: Seat) -> Lease | None:
        """A slot that nobody waits for on another replica than ``but``, if there is one."""
        return None if self._line else self._take(lane, but)

    def _learn(self, lease: Lease, is_well: bool | None) -> None:
        if is_well:
            self.pace.answered(time.monotonic() - lease.began_at)
        if lease.first_s is None:
            return
        self.pace.began(lease.first_s)
        if lease.prompt_tokens:
            self.pace.read(lease.prompt_tokens, lease.first_s, len(lease.seat.leases))
        if lease.seat.limiter is not None:
            lease.seat.limiter.sample(lease.first_s, len(lease.seat.leases))

    async def _wait(self, claim: Claim) -> Lease:
        turn: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        now = time.monotonic()
        waiter = Waiter(claim, now, turn)
        self._line.add(waiter)
        self._hand_out()  # others may wait for a reserved slot that this one may have
        try:
            async with asyncio.timeout(min(claim.deadline - now, self._queue_timeout_s)):
                return await turn
        except BaseException as error:
            self._line.leave(waiter)
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                turn.result().end()  # a slot came just as we were leaving
                self._hand_out()
            if isinstance(error, TimeoutError):
                raise self._too_busy("No slot came free in time.", claim.lane) from None
            raise

    def _take(self, lane: Lane, but: Seat | None = None, asked: Beginnings = ()) -> Lease | None:
        """A slot on the least busy replica, or one near it that has read the beginning of what is
        asked; None when all are busy, starting or kept."""
        seat = affinity.choose((seat for seat in self.seats if seat is not but), asked)
        if seat is None or not self._may(lane):
            return None
        seat.recall.note(asked)
        return Lease(seat, lane)

    def _may(self, lane: Lane) -> bool:
        """Whether there is a free slot that is not kept for another lane."""
        held = 0
        for other, share in self._reserves.items():
            if share and other != lane:
                used = sum(lease.lane == other for seat in self.seats for lease in seat.leases)
                held += max(0, int(share * self.slots) - used)
        return not held or sum(max(0, seat.free) for seat in self.seats) > held

    def _hand_out(self) -> None:
        while self._line and any(seat.free > 0 for seat in self.seats):
            waiter = self._line.next(time.monotonic(), self._may)
            if waiter is None:
                return
            if waiter.turn.done():  # it is leaving
                continue
            lease = self._take(waiter.claim.lane, asked=waiter.claim.beginnings)
            assert lease is not None
            waiter.turn.set_result(lease)

    def _turn_away(self, waiter: Waiter[Lease], what: str) -> None:
        if not waiter.turn.done():
            waiter.turn.set_exception(self._too_busy(what, waiter.claim.lane))

    def _too_busy(self, what: str, lane: Lane) -> TooManyRequests:
        self.shed.add()
        return TooManyRequests(
            what,
            f"{self.busy} requests are being answered and {self.waiting} wait.",
            "Try again shortly.",
            retry_after_s=self._retry_after_s(lane),
        )

    def _retry_after_s(self, lane: Lane) -> float:
        answer_s = self.pace.answer_s or GUESSED_ANSWER_S
        wait_s = answer_s * (self._line.ahead_of(lane) + 1) / max(1, self.slots)
        rest_s = min(seat.breaker.rest_s for seat in self.seats)
        return min(60.0, max(0.2, wait_s, rest_s))


def _seat(replica: Replica, rules: AdmissionSettings) -> Seat:
    breaker = Breaker(rules.breaker_failures, rules.breaker_rest_s)
    adapts = rules.adaptive and not replica.local and getattr(replica, "elastic", False)
    return Seat(replica, breaker, Limiter(replica.slots, rules.most_slots) if adapts else None)
