"""A conversation -> pieces of text, by whichever replica has a slot.

Nothing that the client has seen is ever taken back: while no text has gone out, a broken engine
costs one retry on another replica (or the same one, started again); afterwards it is an error.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from undercroft.engines import sampling_params
from undercroft.errors import EngineFailed
from undercroft.meter import estimate_wh
from undercroft.serve import upstream
from undercroft.serve.asks import Ask
from undercroft.serve.grounding import Messages
from undercroft.serve.pool import Lease
from undercroft.serve.route import Arm
from undercroft.serve.rows import RequestRow
from undercroft.serve.upstream import Piece
from undercroft.settings import MeterSettings

if TYPE_CHECKING:
    from undercroft.serve.gateway import Gateway

ATTEMPTS = 2


async def generate(
    gateway: Gateway,
    arms: Sequence[Arm],
    ask: Ask,
    messages: Messages,
    *,
    row: RequestRow,
    patience_s: float,
) -> AsyncGenerator[Piece, None]:
    """The engine's answer, by the first of ``arms`` or, when its engine breaks before any text,
    the last. Notes the wait, energy and cost in ``row``; ``patience_s`` bounds the wait for a slot.

    Raises `TooManyRequests` when no slot came free and `EngineFailed`.
    """
    asked_at = time.monotonic()
    for attempt in range(1, ATTEMPTS + 1):
        arm = arms[0] if attempt == 1 else arms[-1]
        pool, row.model = arm.pool, arm.model
        async with pool.slot(ask.lane, asked_at + patience_s) as lease:
            row.queue_ms = (time.monotonic() - asked_at) * 1000
            begun = False
            try:
                said = _call(gateway, arm, lease, ask, messages)
                async with aclosing(said if ask.stream else _whole(said)) as reply:
                    async for piece in reply:
                        begun = begun or bool(piece.text)
                        pool.spoke_at = time.monotonic()
                        yield piece
                return
            except EngineFailed:
                pool.suspect(lease)
                if begun or attempt == ATTEMPTS:
                    raise
                row.degrade("retried" if arms[0] is arms[-1] else "fallback")
            finally:
                _charge(row, lease, gateway.settings.meter)


def _call(
    gateway: Gateway, arm: Arm, lease: Lease, ask: Ask, messages: Messages
) -> AsyncGenerator[Piece, None]:
    said: dict[str, Any] = {"prompt": ask.prompt} if ask.kind == "completion" else {}
    drawn = arm.sampling
    payload = {
        **(sampling_params(drawn) if lease.replica.local else {"temperature": drawn.temperature}),
        **lease.replica.defaults,
        **ask.sampling,
        **(said or {"messages": messages}),
        "max_tokens": ask.max_tokens,
        # llama.cpp notices a client that hung up only between two events of a stream.
        "stream": ask.stream or lease.replica.local,
    }
    if payload["stream"]:
        payload["stream_options"] = {"include_usage": True}
    url = lease.replica.url + upstream.PATHS[ask.kind]
    return upstream.pieces(gateway.client, url, payload, lease.replica.headers)


async def _whole(pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[Piece, None]:
    """All of ``pieces`` as one, so that nothing is shown of an answer that breaks off."""
    whole = Piece()
    async with aclosing(pieces):
        async for piece in pieces:
            whole.text += piece.text
            whole.finish_reason = piece.finish_reason or whole.finish_reason
            whole.usage = piece.usage or whole.usage
    yield whole


def _charge(row: RequestRow, lease: Lease, meter: MeterSettings) -> None:
    """This request's share of the engine's processor time, as energy and money."""
    cpu_s, wall_s = lease.spent()
    row.energy_wh += estimate_wh(cpu_s, wall_s, meter) if lease.replica.local else 0.0
    row.cost = row.energy_wh / 1000 * meter.price_per_kwh
