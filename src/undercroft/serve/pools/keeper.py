"""Keeps a pool's replicas running: as many as are wanted, started again when they die or hang.

A replica hangs when it owes somebody a word for long and, asked, does not react: a long prompt is
no hang. It is killed, since nothing gentler reaches a process that is stopped, and whoever waited
for it is sent elsewhere as if it had died.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from undercroft.serve.admission.pace import Pace
from undercroft.serve.pools.replicas import Replica
from undercroft.serve.pools.scaling import Scaler
from undercroft.serve.pools.seat import Seat

log = logging.getLogger(__name__)

POLL_S = 0.1
BACKOFF_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
REACTS_WITHIN_S = 5.0
SPARED_S = 0.5
SLOWER_THAN_LATE = 4.0  # times what only 5 answers in 100 exceed is silence


class Keeper:
    """The replicas of the pool ``name``. ``tick`` is called every `POLL_S` and when a replica
    is there again: somebody may wait for it. ``load`` tells how many wait for one and hold one."""

    def __init__(
        self,
        name: str,
        seats: Sequence[Seat],
        pace: Pace,
        *,
        scaler: Scaler | None,
        hang_s: float,
        check_idle_s: float,
        tick: Callable[[], None],
        load: Callable[[], tuple[int, int]],
    ) -> None:
        self._name = name
        self._seats = seats
        self._pace = pace
        self._scaler = scaler
        self._hang_s = hang_s
        self._check_idle_s = check_idle_s
        self._tick = tick
        self._load = load
        self.restarts = 0
        self.hangs = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the replicas that are wanted, at least one, and keep them running. Raises
        `EngineFailed` when none starts."""
        if self._scaler is not None:
            self.want(self._scaler.wanted)
        wanted = [seat for seat in self._seats if seat.wanted]
        for seat in self._seats:
            seat.resting = not seat.wanted
        outcomes = await asyncio.gather(
            *(self._bring_up(seat) for seat in wanted), return_exceptions=True
        )
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if len(failures) == len(wanted):
            await self.stop()
            raise failures[0]
        self._tasks = [asyncio.create_task(self._supervise(seat)) for seat in self._seats]
        self._tasks.append(asyncio.create_task(self._follow_load()))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for seat in self._seats:
            seat.ready = False
        await asyncio.gather(*(seat.replica.stop() for seat in self._seats), return_exceptions=True)

    def want(self, count: int) -> None:
        for place, seat in enumerate(self._seats):
            seat.wanted = place < count

    async def _follow_load(self) -> None:
        while True:
            if self._scaler is not None:
                self.want(self._scaler.look(time.monotonic(), *self._load()))
            self._tick()
            await asyncio.sleep(POLL_S)

    async def _bring_up(self, seat: Seat) -> None:
        try:
            await seat.replica.start()
        except BaseException:
            seat.failures += 1
            await seat.replica.stop()
            raise
        seat.started()
        seat.ready = True
        self._tick()

    async def _supervise(self, seat: Seat) -> None:
        """Watch one replica: start it again whenever it is gone, stop it when it is not wanted."""
        while True:
            await asyncio.sleep(POLL_S)
            if seat.is_held:
                continue
            if not seat.wanted:
                seat.ready = False  # what it is answering goes on
                if not seat.active and not seat.resting:
                    await seat.replica.stop()
                    seat.resting = True
                continue
            if seat.replica.alive():
                if await self._hangs(seat) or await self._is_dead_asleep(seat):
                    await self._end(seat)
                elif not seat.ready and not self._is_spared(seat) and await _is_well(seat):
                    seat.ready = True
                    self._tick()
                continue
            await self._revive(seat)

    async def _revive(self, seat: Seat) -> None:
        seat.ready = False
        if seat.resting:
            log.info("another replica of %s is started: requests wait", self._name)
        else:
            self.restarts += 1
            log.error("a replica of %s died; starting it again", self._name)
        seat.resting = False
        try:
            await self._bring_up(seat)
        except Exception as error:  # whatever it is, try again
            pause = BACKOFF_S[min(seat.failures, len(BACKOFF_S)) - 1]
            log.error("it did not start, next try in %s s: %s", pause, error)
            await asyncio.sleep(pause)

    async def _hangs(self, seat: Seat) -> bool:
        limit = max(self._hang_s, SLOWER_THAN_LATE * (self._pace.late_s or 0.0))
        if seat.silent_s(time.monotonic()) < limit:
            return False
        if await seat.replica.responsive(min(REACTS_WITHIN_S, limit)):
            return False
        return seat.silent_s(time.monotonic()) >= limit  # it may have spoken meanwhile

    def _is_spared(self, seat: Seat) -> bool:
        """Whether a replica that broke off an answer just now is not needed yet: one that is dying
        may look alive for a moment, and would be given the request again that it broke off."""
        is_fresh = time.monotonic() - seat.suspected_at < SPARED_S
        return is_fresh and any(other.ready for other in self._seats)

    async def _is_dead_asleep(self, seat: Seat) -> bool:
        """Whether one that nobody asked for long answers no question of ours: a token each time."""
        if not self._check_idle_s or seat.leases or not seat.replica.local:
            return False
        if time.monotonic() - seat.heard_at < self._check_idle_s:
            return False
        if await seat.replica.responsive(REACTS_WITHIN_S):
            seat.heard_at = time.monotonic()
            return False
        return not seat.leases

    async def _end(self, seat: Seat) -> None:
        """Give up what the replica owes, and end it if it is ours to end."""
        self.hangs += 1
        log.error("a replica of %s has been silent for too long and does not react", self._name)
        for lease in list(seat.leases):
            lease.abandon()
        if seat.replica.local:
            seat.ready = False
            _kill(seat.replica)
            await seat.replica.stop()


async def _is_well(seat: Seat) -> bool:
    """Whether one whose connection broke may be given requests again. A process may live on a
    machine that cannot be reached any more."""
    return not seat.replica.local or await seat.replica.responsive(REACTS_WITHIN_S)


def _kill(replica: Replica) -> None:
    pid = getattr(replica, "pid", None)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
