"""A replica in its pool, and the slots of it that requests hold."""

from __future__ import annotations

import asyncio
import time

from undercroft.serve.admission.breaker import Breaker
from undercroft.serve.admission.limiter import Limiter
from undercroft.serve.pools.affinity import Recall
from undercroft.serve.pools.replicas import Replica
from undercroft.serve.wire.asks import Lane
from undercroft.serve.wire.pieces import Piece


class Seat:
    """A replica in the pool: how busy it is, whether it is trusted, and whose processor time is
    whose.

    The processor time that passes while n requests run is shared by n; ``_shared_cpu_s`` is the
    running sum of one request's share, so a request's own is the difference of two readings.
    """

    def __init__(self, replica: Replica, breaker: Breaker, limiter: Limiter | None = None) -> None:
        self.replica = replica
        self.breaker = breaker
        self.limiter = limiter
        self.recall = Recall(replica.slots)
        self.ready = False
        self.wanted = True
        self.resting = False  # stopped because nobody needed it
        self.suspected_at = 0.0  # when an answer of its broke off last
        self.is_held = False  # by whoever replaces it
        self.heard_at = time.monotonic()  # when its engine last proved that it works
        self.failures = 0
        self.leases: set[Lease] = set()
        self._shared_cpu_s = 0.0
        self._shared_wall_s = 0.0
        self._read_cpu_s = 0.0
        self._read_at = 0.0

    @property
    def active(self) -> int:
        return len(self.leases)

    @property
    def slots(self) -> int:
        """How many requests it takes at once."""
        return self.replica.slots if self.limiter is None else self.limiter.limit

    @property
    def free(self) -> int:
        """How many more it may be given now."""
        if not self.ready or not self.breaker.lets_in:
            return 0
        return self.slots - len(self.leases) if self.breaker.is_closed else 1

    def take(self, replica: Replica) -> None:
        """Have ``replica`` from now on; what the one before is answering goes on."""
        self.read()
        self.replica = replica
        self._read_cpu_s = replica.cpu_s()
        self.started()

    def started(self) -> None:
        """Its replica is a new process: nothing that was known of it holds."""
        self.failures = 0
        self.breaker.reset()
        self.recall = Recall(self.replica.slots)
        self.heard_at = time.monotonic()

    def suspect(self) -> None:
        """An answer broke off: it gets no more until it is seen alive."""
        self.ready, self.suspected_at = False, time.monotonic()

    def silent_s(self, now: float) -> float:
        """For how long the one that it owes a word the longest has been waiting."""
        waits = (now - lease.heard_at for lease in self.leases if lease.is_listening)
        return max(waits, default=0.0)

    def read(self) -> tuple[float, float]:
        """Shares so far of (processor seconds, wall seconds), at the present load."""
        cpu_s, now = self.replica.cpu_s(), time.perf_counter()
        if self.leases:
            self._shared_cpu_s += max(0.0, cpu_s - self._read_cpu_s) / len(self.leases)
            self._shared_wall_s += (now - self._read_at) / len(self.leases)
        self._read_cpu_s, self._read_at = cpu_s, now
        return self._shared_cpu_s, self._shared_wall_s


class Lease:
    """One slot of one replica, held by one request.

    ``heard_at`` (monotonic) is when the engine last said something to it, or it began to listen:
    while a slow client is being written to, nobody listens, and silence proves nothing.
    """

    __slots__ = (
        "_began", "began_at", "first_s", "heard_at", "is_abandoned", "is_listening", "is_probe",
        "lane", "prompt_tokens", "replica", "seat", "task", "written_tokens",
    )  # fmt: skip

    def __init__(self, seat: Seat, lane: Lane) -> None:
        self.seat = seat
        self.lane = lane
        self.replica = seat.replica
        self.is_probe = seat.breaker.enter()
        self.began_at = self.heard_at = time.monotonic()
        self.first_s: float | None = None
        self.prompt_tokens = self.written_tokens = 0
        self.is_listening = False
        self.is_abandoned = False
        self.task: asyncio.Task[object] | None = None
        self._began = seat.read()
        seat.leases.add(self)

    def listen(self, speaks: bool) -> None:
        """The present task waits for the engine from now on; ``speaks`` says whether that gives
        signs of life before it has finished."""
        self.task = asyncio.current_task()
        self.is_listening = speaks

    def heard(self, piece: Piece) -> None:
        """The engine said something; nobody listens until it is passed on."""
        self.heard_at = self.seat.heard_at = time.monotonic()
        self.is_listening = False
        if self.first_s is None and piece.says:
            self.first_s = self.heard_at - self.began_at
        self.written_tokens += piece.says
        if piece.usage is not None:
            self.prompt_tokens = piece.usage.prompt_tokens
            self.written_tokens = piece.usage.completion_tokens

    def abandon(self) -> None:
        """Wait for the engine no longer: whoever listens meets `EngineFailed` instead."""
        if self.is_listening and self.task is not None and not self.is_abandoned:
            self.is_abandoned = True
            self.task.cancel()

    def spent(self) -> tuple[float, float]:
        """This request's share so far of the engine's (processor seconds, wall seconds)."""
        cpu_s, wall_s = self.seat.read()
        return cpu_s - self._began[0], wall_s - self._began[1]

    def end(self, is_well: bool | None = None) -> None:
        """Give the slot back; ``is_well`` says whether the engine kept its word, None if nobody
        knows."""
        self.seat.read()  # what passed until now was shared with us
        self.seat.leases.discard(self)
        self.seat.breaker.ended(is_well, self.is_probe)
