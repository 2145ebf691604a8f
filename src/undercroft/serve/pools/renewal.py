"""Replicas made anew, one after another, while the others answer.

One that is not alone is drained, stopped, and started again in its place, which takes no more
memory than before; one that is alone is replaced by another that runs already. Either way nobody
who asks notices. What cannot be started leaves the replica as it was.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from undercroft.processes import announce, read_announcement
from undercroft.serve.pools.pool import Pool
from undercroft.serve.pools.replicas import Replica
from undercroft.serve.pools.seat import Seat

FILE: Final = "restart.json"
LOOK_S: Final = 0.02

Warm = Callable[[Replica], Awaitable[None]]


async def renew(
    pool: Pool, fresh: Sequence[Replica], warm: Warm, *, drain_s: float, told: Callable[[], None]
) -> None:
    """Put each of ``fresh`` in the place of a replica of ``pool``, which gets ``drain_s`` for what
    it is answering; ``told`` is called after each. Raises what a start raised."""
    for seat, replica in zip(pool.seats, fresh, strict=True):
        seat.is_held = True  # whoever keeps replicas running lets this one be
        try:
            await _replace(pool, seat, replica, warm, drain_s)
        finally:
            seat.is_held = False
        told()


async def _replace(pool: Pool, seat: Seat, fresh: Replica, warm: Warm, drain_s: float) -> None:
    old = seat.replica
    if seat.resting:
        seat.take(fresh)
        return
    has_others = any(other.ready for other in pool.seats if other is not seat)
    if has_others:
        seat.ready = False
        await _idle(seat, old, drain_s)
        await old.stop()
    try:
        await fresh.start()
        await warm(fresh)
    except BaseException:
        await fresh.stop()
        raise
    seat.take(fresh)
    seat.ready = True
    if not has_others:
        await _idle(seat, old, drain_s)
        await old.stop()


async def _idle(seat: Seat, replica: Replica, most_s: float) -> None:
    """Wait until ``replica`` answers nobody."""
    deadline = time.monotonic() + most_s
    while time.monotonic() < deadline and any(each.replica is replica for each in seat.leases):
        await asyncio.sleep(LOOK_S)


class Report:
    """How far a renewal is, in a file that the command which asked for it reads."""

    def __init__(self, folder: Path, total: int) -> None:
        self._file = folder / FILE
        self._told: dict[str, Any] = {
            "at": time.time(), "state": "running", "done": 0, "total": total, "error": "",
        }  # fmt: skip
        announce(self._file, **self._told)

    def one_more(self) -> None:
        self._told["done"] += 1
        announce(self._file, **self._told)

    def end(self, error: str = "") -> None:
        self._told |= {"state": "failed" if error else "done", "error": error}
        announce(self._file, **self._told)


def report_of(folder: Path, since: float) -> dict[str, Any] | None:
    """What the gateway told of a renewal that began after ``since`` (seconds since 1970)."""
    found = read_announcement(folder / FILE)
    return found if found is not None and found["at"] >= since else None


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
