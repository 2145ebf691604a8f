"""A conversation -> pieces of text, by whichever replica has a slot.

Nothing that the client has seen is ever taken back: while no text has gone out, a broken engine
costs one retry on another replica (or the same one, started again), within what the pool allows;
afterwards it is an error.
Several answers to one request are written at the same time, each in a slot of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from undercroft.errors import EngineFailed
from undercroft.meter import estimate_wh
from undercroft.serve import hedging
from undercroft.serve.admission.claim import Claim
from undercroft.serve.admission.ladder import CHEAPER, SHORT
from undercroft.serve.journal.rows import RequestRow
from undercroft.serve.pools import affinity, upstream
from undercroft.serve.pools.pool import Pool
from undercroft.serve.pools.replicas import FREE, Replica
from undercroft.serve.pools.route import Arm
from undercroft.serve.pools.seat import Lease
from undercroft.serve.prompting import grounding, tools
from undercroft.serve.prompting.grounding import Messages
from undercroft.serve.wire.asks import Ask
from undercroft.serve.wire.failures import HttpError
from undercroft.serve.wire.pieces import Piece

if TYPE_CHECKING:
    from undercroft.serve.gateway import Gateway


def generate(
    gateway: Gateway,
    arms: Sequence[Arm],
    ask: Ask,
    messages: Messages,
    *,
    row: RequestRow,
    claim: Claim,
) -> AsyncGenerator[Piece, None]:
    """The engine's answer, or all ``ask.n`` of them, by the first of ``arms`` or, when its engine
    breaks before any text, the last. Notes the wait, energy and cost in ``row``; the place in the
    line for a slot is that of ``claim``.

    Raises `TooManyRequests` when no slot came free, `HttpError` 400 and `EngineFailed`.
    """
    ask = _kept_short(gateway, arms[0].pool, ask, row)
    if ask.n == 1:
        return _one(gateway, arms, ask, messages, row=row, claim=claim)
    seed, prompts = ask.sampling.get("seed"), ask.prompts or (ask.prompt,)
    each = ask.n // len(prompts)
    asks = [
        msgspec.structs.replace(
            ask,
            prompt=prompts[number // each],
            sampling=ask.sampling if seed is None else {**ask.sampling, "seed": seed + number},
        )
        for number in range(ask.n)
    ]
    return _together([_one(gateway, arms, each, messages, row=row, claim=claim) for each in asks])


def _kept_short(gateway: Gateway, pool: Pool, ask: Ask, row: RequestRow) -> Ask:
    """``ask`` for a shorter answer where there is too much to do; half of an object or of a call
    would be of no use to anybody."""
    most = gateway.settings.admission.short_tokens
    if SHORT not in pool.ladder or ask.max_tokens <= most:
        return ask
    if ask.structured or "tools" in ask.sampling:
        return ask
    row.degrade(SHORT)
    return msgspec.structs.replace(ask, max_tokens=most)


def in_order(arms: Sequence[Arm], is_on_trial: bool = False) -> Sequence[Arm]:
    """``arms`` as they are to be tried now: the fallback alone where the first cannot, or has too
    much to do. One that is on trial is spared no work."""
    first, last = arms[0].pool, arms[-1].pool
    is_spared = CHEAPER in first.ladder and not is_on_trial
    if first is last or last.is_broken or not (first.is_broken or is_spared):
        return arms
    return arms[-1:]


async def _together(flows: Sequence[AsyncGenerator[Piece, None]]) -> AsyncGenerator[Piece, None]:
    """The pieces of several answers as they come, each with its number."""
    coming: asyncio.Queue[Piece | BaseException | None] = asyncio.Queue(1)

    async def follow(index: int, flow: AsyncGenerator[Piece, None]) -> None:
        try:
            async with aclosing(flow):
                async for piece in flow:
                    piece.index = index
                    await coming.put(piece)
        except Exception as error:
            await coming.put(error)
        else:
            await coming.put(None)

    tasks = [asyncio.create_task(follow(index, flow)) for index, flow in enumerate(flows)]
    try:
        going = len(tasks)
        while going:
            piece = await coming.get()
            if isinstance(piece, BaseException):
                raise piece
            if piece is None:
                going -= 1
            else:
                yield piece
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _one(
    gateway: Gateway,
    arms: Sequence[Arm],
    ask: Ask,
    messages: Messages,
    *,
    row: RequestRow,
    claim: Claim,
) -> AsyncGenerator[Piece, None]:
    if gateway.settings.serve.affinity and len(arms[0].pool.seats) > 1:
        asked = affinity.beginnings(messages, ask.prompt, arms[0].adapter)
        claim = msgspec.structs.replace(claim, beginnings=asked)
    attempt = partial(_attempt, gateway, ask=ask, messages=messages, row=row, claim=claim)
    for arm, is_last in ((arms[0], False), (arms[-1], True)):
        row.model, begun = arm.model, False
        flow = attempt(arm, again=is_last)
        if gateway.settings.admission.hedge and not is_last:
            flow = hedging.hedged(arm.pool, claim, attempt_on=partial(attempt, arm))
        try:
            async with aclosing(flow) as reply:
                async for piece in reply:
                    begun = begun or piece.says
                    yield piece
            return
        except EngineFailed:
            if begun or is_last or not _may_retry(arm.pool, claim):
                raise
            row.degrade("retried" if arms[0] is arms[-1] else "fallback")


def _may_retry(pool: Pool, claim: Claim) -> bool:
    """Whether an answer that broke may cost another try: not a client's own retry while others
    wait, and no more of them than the pool bears."""
    return not (claim.tries and pool.waiting) and pool.retries.take()


async def _attempt(
    gateway: Gateway,
    arm: Arm,
    given: Lease | None = None,
    *,
    ask: Ask,
    messages: Messages,
    row: RequestRow,
    claim: Claim,
    again: bool = False,
) -> AsyncGenerator[Piece, None]:
    """One try, on the slot ``given`` or on the next of the arm's pool. A whole answer comes as one
    piece, so that nothing is shown of one that breaks off. One that is tried ``again`` gets a
    connection of its own: what broke the first may have broken all that were kept."""
    pool, asked_at = arm.pool, time.monotonic()
    whole = None if ask.stream else Piece()
    async with pool.slot(claim) if given is None else pool.held(given) as lease:
        row.queue_ms = (time.monotonic() - asked_at) * 1000
        speaks = ask.stream or lease.replica.local
        if lease.replica.price is not FREE:
            await gateway.leases.fund()
            gateway.purse.demand(arm.model)
        try:
            client = gateway.fresh_client if again else gateway.client
            async with aclosing(_call(client, arm, lease, ask, messages)) as reply:
                lease.listen(speaks)
                async for piece in reply:
                    lease.heard(piece)
                    pool.spoke_at = lease.heard_at
                    if whole is None:
                        yield piece
                    else:
                        whole.take(piece)
                    lease.listen(speaks)
                lease.is_listening = False
            if whole is not None:
                yield whole
        finally:
            _charge(gateway, row, lease, claim)


def _call(
    client: aiohttp.ClientSession, arm: Arm, lease: Lease, ask: Ask, messages: Messages
) -> AsyncGenerator[Piece, None]:
    """Ask the engine. Raises `HttpError` 400 when it cannot take what the messages hold."""
    replica, names = lease.replica, list[str]()
    if ask.media - replica.accepts:
        kinds = ", ".join(sorted(ask.media - replica.accepts))
        raise HttpError(
            400, "unsupported_media", f"The model {arm.model} takes no {kinds}.", "",
            "Send text only, or ask a model that takes it.", param="messages",
        )  # fmt: skip
    said: dict[str, Any] = {"prompt": ask.prompt} if ask.kind == "completion" else {}
    asked = ask.sampling
    if not said and not ask.retrieve and _needs_words(replica, asked, messages):
        messages, extra, names = tools.in_words(messages, asked)
        asked = {name: asked[name] for name in asked if name not in tools.FIELDS} | extra
    if replica.local:
        messages = grounding.inert(messages)
    if replica.local and "top_logprobs" in asked:  # llama.cpp gives none when it is to name none
        asked = {**asked, "top_logprobs": max(1, asked["top_logprobs"])}
    payload = {
        **replica.drawing(arm.sampling),
        **replica.defaults,
        **replica.naming(arm.adapter),
        **asked,
        **(said or {"messages": messages}),
        "max_tokens": ask.max_tokens,
        # llama.cpp notices a client that hung up only between two events of a stream.
        "stream": ask.stream or replica.local,
    }
    if payload["stream"]:
        payload["stream_options"] = {"include_usage": True}
    url = replica.url + upstream.PATHS[ask.kind]
    pieces = upstream.pieces(client, url, payload, replica.headers)
    return tools.read(pieces, names) if names else pieces


def _needs_words(replica: Replica, asked: dict[str, Any], messages: Messages) -> bool:
    """Whether tools have to be explained: the model does not know them, or a call is required,
    which llama.cpp's own parsers of calls do not enforce for every template."""
    if "tools" not in asked and all(len(message) == 2 for message in messages):
        return False
    return "tools" not in replica.accepts or (replica.local and tools.is_required(asked))


def _charge(gateway: Gateway, row: RequestRow, lease: Lease, claim: Claim) -> None:
    """What this attempt cost: its share of the engine's processor time as energy, and what whoever
    runs the engine asks for its tokens; of an answer that broke off, roughly."""
    meter = gateway.settings.meter
    cpu_s, wall_s = lease.spent()
    energy_wh = estimate_wh(cpu_s, wall_s, meter) if lease.replica.local else 0.0
    row.energy_wh += energy_wh
    row.cost += energy_wh / 1000 * meter.price_per_kwh
    read = lease.prompt_tokens or (0 if lease.first_s is None else claim.tokens)
    price = lease.replica.price.of(read, lease.written_tokens)
    row.cost += price
    gateway.purse.spend(price)
