"""The way of a request: `answer` is the whole of it, on one screen.

Chat and plain completions, streamed and not, go the same way: a stream is many pieces of text, a
whole answer is one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING

from undercroft.records import Passage, Principal
from undercroft.retrieve.prompt import REFUSAL
from undercroft.serve.admission.budgets import Grant, most_tokens
from undercroft.serve.admission.claim import claim_of
from undercroft.serve.caches.cache import Answer, key_of
from undercroft.serve.generation import generate
from undercroft.serve.guards import screens
from undercroft.serve.journal import rows
from undercroft.serve.journal.rows import RequestRow
from undercroft.serve.pools.route import Arm, Route
from undercroft.serve.prompting.preparation import prepare
from undercroft.serve.reply import Reply
from undercroft.serve.wire.asks import Ask
from undercroft.serve.wire.exchange import Exchange
from undercroft.serve.wire.failures import outcome_of
from undercroft.serve.wire.pieces import Piece, Usage
from undercroft.settings import SamplingSettings

if TYPE_CHECKING:
    from undercroft.serve.gateway import Gateway

log = logging.getLogger(__name__)

Parse = Callable[[bytes, SamplingSettings], Ask]
Keep = Callable[[RequestRow, Reply], None]


async def answer(
    gateway: Gateway, exchange: Exchange, parse: Parse, keep: Keep | None = None
) -> None:
    """parse -> identify -> admit -> [screen input | cache | retrieve] -> route -> generate, or
    abstain -> screen output -> settle -> record -> the last byte."""
    ask = parse(await exchange.body(gateway.max_body_bytes), gateway.route.sampling)
    who = await gateway.identify(exchange, "chat")
    place = gateway.rollout.place(ask, who)  # fixed now: the cache key depends on it
    route, arm = place.route, place.arm
    patience = exchange.patience(gateway.settings.serve.timeout_s)
    time_limit = gateway.settings.serve.timeout_s if ask.stream else patience
    passages: tuple[Passage, ...] | None
    most = most_tokens(ask, reads=route.reads_for(ask))
    rules = gateway.settings.admission
    claim = claim_of(exchange, ask, who, cost=most, patience_s=patience, rules=rules)
    with gateway.budgets.reserve(who, most) as grant, arm.pool.admit(claim):
        row = _begin(ask, who, route, arm)
        await gateway.ready_to_seal(row.subject)
        reply = Reply(exchange, ask, row)
        settled = _settled_and_recorded(
            gateway, exchange, ask, reply=reply, row=row, grant=grant, keep=keep
        )
        with gateway.rollout.observed(place, row) as seen, settled:
            async with exchange.cancelled_on_hang_up(), asyncio.timeout(time_limit):
                key = key_of(ask, route.ref, arm.model, route.index, screens.VERSION)
                async with gateway.cache.flight(key) as flight:
                    if flight.answer is not None:
                        row.cached, passages = True, flight.answer.passages
                        pieces = _replayed(flight.answer)
                    else:
                        passages, messages = await prepare(gateway, route, ask, row)
                        seen.input_findings = len(row.findings)
                        if "retrieval" not in row.degraded and route.abstains(ask, passages):
                            pieces = _abstention(row)
                        else:
                            written = generate(
                                gateway, place.arms, ask, messages, row=row, claim=claim
                            )
                            pieces = _screen_output(gateway, ask, written, passages, row)
                    row.passages = [rows.passage_row(passage) for passage in passages or ()]
                    flight.land(await reply.deliver(pieces, passages))
        await reply.conclude()
    gateway.rollout.shadow(ask, place)


def _begin(ask: Ask, who: Principal, route: Route, arm: Arm) -> RequestRow:
    return RequestRow(
        id=ask.id or rows.new_answer_id(),
        at=rows.now(),
        key=who.id,
        subject=ask.user or who.id,
        route=route.ref,
        model=arm.model,
        kind=ask.kind,
        consent="store" if ask.store else "",
    )


async def _screen_output(
    gateway: Gateway,
    ask: Ask,
    pieces: AsyncGenerator[Piece, None],
    passages: Sequence[Passage] | None,
    row: RequestRow,
) -> AsyncGenerator[Piece, None]:
    """``pieces`` as they may be shown; what was masked is noted in ``row``."""
    cited = None if passages is None or ask.structured else len(passages)
    screen = screens.OutputScreen(gateway.settings.serve.screen_output, cited, ask.structured)
    async with aclosing(screens.screened(pieces, screen)) as shown:
        async for piece in shown:
            yield piece
    row.findings += [rows.finding_row(each) for each in screen.findings]
    gateway.metrics.count_findings("output", screen.findings)


async def _abstention(row: RequestRow) -> AsyncGenerator[Piece, None]:
    """The answer to what the documents are plainly not about; no model is asked."""
    row.degrade("abstained")
    yield Piece(REFUSAL, "stop", Usage())


async def _replayed(known: Answer) -> AsyncGenerator[Piece, None]:
    for choice in known.choices:
        yield choice


@contextmanager
def _settled_and_recorded(
    gateway: Gateway,
    exchange: Exchange,
    ask: Ask,
    *,
    reply: Reply,
    row: RequestRow,
    grant: Grant,
    keep: Keep | None,
) -> Iterator[None]:
    """However the block ends, settle what it cost and record what was asked and answered; a whole
    answer is also given to ``keep``.

    Nothing in here waits, so no cancellation can come between; and it is done before the last byte
    goes out, so what a client has seen whole is never lost.
    """
    row.status = "ok"
    try:
        yield
    except BaseException as error:
        row.status = outcome_of(error)
        raise
    finally:
        usage = reply.usage if row.status == "ok" or reply.text else Usage()
        row.prompt_tokens, row.completion_tokens = usage.prompt_tokens, usage.completion_tokens
        grant.used = usage.total_tokens
        row.finish_reason = reply.finish_reason
        row.total_ms = (time.perf_counter() - exchange.began) * 1000
        row.question_sealed = gateway.seal(row, "question", ask.transcript.encode())
        row.answer_sealed = gateway.seal(row, "answer", reply.text.encode())
        if keep is not None and row.status == "ok":
            keep(row, reply)
        gateway.record(row)
