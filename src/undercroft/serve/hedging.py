"""Asking twice: when an answer has not begun after a time that few exceed, a second replica is
asked as well, and the first to speak is heard (Dean and Barroso, "The Tail at Scale", 2013)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from undercroft.errors import EngineFailed
from undercroft.serve.admission.claim import Claim
from undercroft.serve.pools.pool import Pool
from undercroft.serve.pools.seat import Lease
from undercroft.serve.wire.pieces import Piece

Flow = AsyncGenerator[Piece, None]


async def hedged(pool: Pool, claim: Claim, attempt_on: Callable[[Lease | None], Flow]) -> Flow:
    """The pieces of ``attempt_on(None)``, or of another attempt on a spare replica of ``pool`` when
    that speaks first. The loser is cancelled, which stops its engine. It waits for nothing: with no
    replica to spare, nothing known of the pool's pace, or too many asked twice already, there is
    one attempt."""
    flows = [attempt_on(None)]
    firsts = [asyncio.create_task(_first(flows[0]))]
    try:
        late_s = pool.pace.late_s
        if late_s is not None:
            done, _ = await asyncio.wait(firsts, timeout=late_s)
            spare = None if done else _spare(pool, claim, firsts[0])
            if spare is not None:
                flows.append(attempt_on(spare))
                firsts.append(asyncio.create_task(_first(flows[1])))
        winner, piece = await _fastest(flows, firsts)
        for task in firsts:
            task.cancel()
        async with aclosing(winner):
            while piece is not None:
                yield piece
                piece = await anext(winner, None)
    finally:
        for task in firsts:
            task.cancel()
        await asyncio.gather(*firsts, return_exceptions=True)
        for flow in flows:
            await flow.aclose()


def _spare(pool: Pool, claim: Claim, late: asyncio.Task[Piece | None]) -> Lease | None:
    """A slot on another replica than the one that is ``late``, where there is one to spare."""
    held = (lease for seat in pool.seats for lease in seat.leases)
    slow = next((lease.seat for lease in held if lease.task is late), None)
    lease = pool.spare(claim.lane, but=slow) if slow is not None else None
    if lease is not None and not pool.hedges.take():
        lease.end()
        return None
    return lease


async def _first(flow: Flow) -> Piece | None:
    return await anext(flow, None)


async def _fastest(
    flows: list[Flow], firsts: list[asyncio.Task[Piece | None]]
) -> tuple[Flow, Piece | None]:
    """The flow that spoke first, and its first piece; one that breaks leaves it to the other."""
    waiting = set(firsts)
    while True:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            failure = task.exception()
            if failure is None:
                return flows[firsts.index(task)], task.result()
            if not waiting or not isinstance(failure, EngineFailed):
                raise failure
