"""Before the first request: read the constant part of the prompt into every slot.

It also proves that each engine really answers, so that ready means ready.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from undercroft.retrieve import prompt
from undercroft.serve import upstream
from undercroft.serve.replicas import Replica

if TYPE_CHECKING:
    from undercroft.serve.gateway import Gateway

CHECK_TIMEOUT_S = 10.0


async def warm(gateway: Gateway) -> None:
    """One short real answer on every slot of every replica. Raises `EngineFailed`."""
    messages = prompt.messages("", [], gateway.project.title)
    await asyncio.gather(
        *(
            check(gateway, seat.replica, messages)
            for pool in gateway.router.pools
            for seat in pool.seats
            if seat.ready and seat.replica.local
            for _ in range(seat.replica.slots)
        )
    )


async def check(
    gateway: Gateway, replica: Replica, messages: list[dict[str, str]] | None = None
) -> None:
    """Have ``replica`` write one token. Raises `EngineFailed` or `TimeoutError`."""
    payload: dict[str, Any] = {
        **replica.defaults,
        "messages": messages or [{"role": "user", "content": "."}],
        "max_tokens": 1,
        "stream": False,
    }
    url = replica.url + upstream.PATHS["chat"]
    async with asyncio.timeout(CHECK_TIMEOUT_S):
        async with aclosing(
            upstream.pieces(gateway.client, url, payload, replica.headers)
        ) as reply:
            async for _ in reply:
                pass
