"""A pool: the replicas behind one model, with a bounded queue in front of their slots.

Replicas are supervised: one that dies is started again after a growing pause, and what waits for a
slot meanwhile keeps waiting. How many run follows the load (`scaling`), down to none. Waiters are
served first come, first served within a lane, interactive before batch. A waiter that is cancelled
leaves the queue and disturbs nobody.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from undercroft.serve.pools.replicas import Replica
from undercroft.serve.pools.scaling import Scaler
from undercroft.serve.wire.asks import Lane
from undercroft.serve.wire.failures import TooManyRequests

log = logging.getLogger(__name__)

POLL_S = 0.1
BACKOFF_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
HOPELESS_AFTER = 5  # failed starts in a row after which requests are refused at once
AVERAGE_OVER = 20  # answers in the moving average of an answer's time


class Seat:
    """A replica in the pool: how busy it is, and whose processor time is whose.

    The processor time that passes while n requests run is shared by n; ``shared_cpu_s`` is the
    running sum of one request's share, so a request's own is the difference of two readings.
    """

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.ready = False
        self.wanted = True
        self.resting = False  # stopped because nobody needed it
        self.active = 0
        self.failures = 0
        self._shared_cpu_s = 0.0
        self._shared_wall_s = 0.0
        self._read_cpu_s = 0.0
        self._read_at = 0.0

    @property
    def free(self) -> int:
        return self.replica.slots - self.active if self.ready else 0

    def read(self) -> tuple[float, float]:
        """Shares so far of (processor seconds, wall seconds), at the present load."""
        cpu_s, now = self.replica.cpu_s(), time.perf_counter()
        if self.active:
            self._shared_cpu_s += max(0.0, cpu_s - self._read_cpu_s) / self.active
            self._shared_wall_s += (now - self._read_at) / self.active
        self._read_cpu_s, self._read_at = cpu_s, now
        return self._shared_cpu_s, self._shared_wall_s


class Lease:
    """One slot of one replica, held by one request."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.replica = seat.replica
        self._began = seat.read()
        seat.active += 1

    def spent(self) -> tuple[float, float]:
        """This request's share so far of the engine's (processor seconds, wall seconds)."""
        cpu_s, wall_s = self.seat.read()
        return cpu_s - self._began[0], wall_s - self._began[1]

    def end(self) -> None:
        self.seat.read()  # what passed until now was shared with us
        self.seat.active -= 1


class Pool:
    """See the module. ``name`` is the ref of the model it serves."""

    def __init__(
        self,
        name: str,
        replicas: Sequence[Replica],
        queue: int,
        queue_timeout_s: float,
        scaler: Scaler | None = None,
    ) -> None:
        self.name = name
        self.seats = [Seat(replica) for replica in replicas]
        self._scaler = scaler
        self.inside = 0  # requests admitted and not yet answered
        self.restarts = 0
        self.spoke_at = 0.0  # when an engine last said something, monotonic
        self.being_checked = asyncio.Lock()
        self._capacity = sum(replica.slots for replica in replicas) + queue
        self._queue_timeout_s = queue_timeout_s
        self._waiting: dict[Lane, deque[asyncio.Future[Lease]]] = {
            "interactive": deque(),
            "batch": deque(),
        }
        self._answer_s = 2.0
        self._supervisors: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the replicas that are wanted, at least one, and keep them running. Raises
        `EngineFailed` when none starts."""
        if self._scaler is not None:
            self._want(self._scaler.wanted)
        wanted = [seat for seat in self.seats if seat.wanted]
        for seat in self.seats:
            seat.resting = not seat.wanted
        outcomes = await asyncio.gather(
            *(self._bring_up(seat) for seat in wanted), return_exceptions=True
        )
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if len(failures) == len(wanted):
            await self.stop(0.0)
            raise failures[0]
        self._supervisors = [asyncio.create_task(self._supervise(seat)) for seat in self.seats]
        if self._scaler is not None:
            self._supervisors.append(asyncio.create_task(self._scale(self._scaler)))

    async def stop(self, grace_s: float) -> None:
        """Let requests inside finish for ``grace_s``, then stop the replicas."""
        deadline = time.monotonic() + grace_s
        while self.inside and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        for task in self._supervisors:
            task.cancel()
        for seat in self.seats:
            seat.ready = False
        await asyncio.gather(*(seat.replica.stop() for seat in self.seats), return_exceptions=True)

    @property
    def waiting(self) -> int:
        return sum(len(lane) for lane in self._waiting.values())

    @property
    def busy(self) -> int:
        return sum(seat.active for seat in self.seats)

    @property
    def alive(self) -> bool:
        """Whether it answers, or would after waking up."""
        return self.asleep or any(seat.ready for seat in self.seats)

    @property
    def asleep(self) -> bool:
        """Whether nobody needed a replica for a while, so that none runs."""
        return not any(seat.wanted for seat in self.seats)

    def _want(self, count: int) -> None:
        for place, seat in enumerate(self.seats):
            seat.wanted = place < count

    async def _scale(self, scaler: Scaler) -> None:
        while True:
            self._want(scaler.look(time.monotonic(), self.waiting, self.busy))
            await asyncio.sleep(POLL_S)

    @contextmanager
    def admit(self) -> Iterator[None]:
        """A place inside for one request. Raises `TooManyRequests` when there is none."""
        if self.inside >= self._capacity:
            raise self._too_busy("The model is busy.")
        if all(seat.failures >= HOPELESS_AFTER for seat in self.seats):
            raise TooManyRequests(
                "The model's engine does not start.", do="See the log.", retry_after_s=10.0
            )
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    @asynccontextmanager
    async def slot(self, lane: Lane, deadline: float) -> AsyncIterator[Lease]:
        """Wait for a slot until the queue's time limit or ``deadline`` (monotonic) and hold it.

        Raises `TooManyRequests` when the wait was in vain.
        """
        lease = self._take() if not self.waiting else None
        if lease is None:
            lease = await self._wait(lane, deadline)
        began = time.monotonic()
        try:
            yield lease
            self._answer_s += (time.monotonic() - began - self._answer_s) / AVERAGE_OVER
        finally:
            lease.end()
            self._hand_out()

    async def _wait(self, lane: Lane, deadline: float) -> Lease:
        queue = self._waiting[lane]
        turn: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            async with asyncio.timeout(min(deadline - time.monotonic(), self._queue_timeout_s)):
                return await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # a slot came just as we were leaving
                turn.result().end()
                self._hand_out()
            else:
                queue.remove(turn)
            if isinstance(error, TimeoutError):
                raise self._too_busy("No slot came free in time.") from None
            raise

    def _take(self) -> Lease | None:
        """A slot on the least busy replica, or None when all are busy or starting."""
        seat = max(self.seats, key=lambda seat: seat.free)
        return Lease(seat) if seat.free > 0 else None

    def _hand_out(self) -> None:
        for lane in self._waiting.values():
            for turn in list(lane):
                if turn.done():  # it is leaving and takes itself out
                    continue
                lease = self._take()
                if lease is None:
                    return
                lane.remove(turn)
                turn.set_result(lease)

    def _too_busy(self, what: str) -> TooManyRequests:
        return TooManyRequests(
            what,
            f"{self.busy} requests are being answered and {self.waiting} wait.",
            "Try again shortly.",
            retry_after_s=self._expected_wait_s(),
        )

    def _expected_wait_s(self) -> float:
        slots = sum(seat.replica.slots for seat in self.seats)
        return min(60.0, max(0.2, self._answer_s * (self.waiting + 1) / slots))

    async def _bring_up(self, seat: Seat) -> None:
        try:
            await seat.replica.start()
        except BaseException:
            seat.failures += 1
            await seat.replica.stop()
            raise
        seat.failures = 0
        seat.ready = True
        self._hand_out()

    async def _supervise(self, seat: Seat) -> None:
        """Watch one replica: start it again whenever it is gone, stop it when it is not wanted."""
        while True:
            await asyncio.sleep(POLL_S)
            if not seat.wanted:
                seat.ready = False  # what it is answering goes on
                if not seat.active and not seat.resting:
                    await seat.replica.stop()
                    seat.resting = True
                continue
            if seat.replica.alive():
                if not seat.ready:  # suspected, and found well
                    seat.ready = True
                    self._hand_out()
                continue
            seat.ready = False
            if seat.resting:
                log.info("another replica of %s is started: requests wait", self.name)
            else:
                self.restarts += 1
                log.error("a replica of %s died; starting it again", self.name)
            seat.resting = False
            try:
                await self._bring_up(seat)
            except Exception as error:  # whatever it is, try again
                pause = BACKOFF_S[min(seat.failures, len(BACKOFF_S)) - 1]
                log.error("it did not start, next try in %s s: %s", pause, error)
                await asyncio.sleep(pause)

    def suspect(self, lease: Lease) -> None:
        """Its connection broke: give that replica no more until it is seen alive."""
        lease.seat.ready = False
