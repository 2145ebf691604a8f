"""The way of a request: `answer` is the whole of it, on one screen.

Chat and plain completions, streamed and not, go the same way: a stream is many pieces of text, a
whole answer is one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from undercroft.errors import EngineFailed, Overloaded
from undercroft.records import Finding, Passage, Principal
from undercroft.serve.admission.budgets import Grant, most_tokens
from undercroft.serve.admission.claim import Claim, claim_of
from undercroft.serve.admission.ladder import CHEAPER, LESSER, SPARSE, STALE
from undercroft.serve.caches.cache import Answer, Flight
from undercroft.serve.generation import generate, in_order
from undercroft.serve.guards import screens
from undercroft.serve.journal import rows
from undercroft.serve.journal.rows import RequestRow
from undercroft.serve.pools.route import Arm
from undercroft.serve.prompting.preparation import prepare, screen_question
from undercroft.serve.releasing.rollout import Place
from undercroft.serve.reply import Reply
from undercroft.serve.wire.asks import Ask
from undercroft.serve.wire.exchange import Exchange
from undercroft.serve.wire.failures import outcome_of
from undercroft.serve.wire.pieces import Piece, Usage
from undercroft.settings import SamplingSettings
from undercroft.trials.assignment import CANARY

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
    if "image" in ask.media:
        async with exchange.cancelled_on_hang_up():
            ask = await gateway.pictures.brought(ask)
    place = gateway.rollout.place(ask, who)  # fixed now: the cache key depends on it
    route, arms = place.route, in_order(place.arms, is_on_trial=place.part == CANARY)
    patience = exchange.patience(gateway.settings.serve.timeout_s)
    time_limit = gateway.settings.serve.timeout_s if ask.stream else patience
    most = most_tokens(ask, reads=route.reads_for(ask))
    rules = gateway.settings.admission
    claim = claim_of(exchange, ask, who, cost=most, patience_s=patience, rules=rules)
    admitted = _admitted(gateway, ask, arms[0], claim)
    await gateway.leases.provide(who, most)
    with gateway.budgets.reserve(who, most) as grant, admitted as stale:
        row = _begin(gateway, ask, who, place, arms[0])
        await gateway.ready_to_seal(row.subject)
        reply = Reply(
            exchange, ask, row,
            heartbeat_s=gateway.settings.serve.heartbeat_s,
            in_line=partial(_in_line, arms[0], row),
        )  # fmt: skip
        settled = _settled_and_recorded(
            gateway, exchange, ask, reply=reply, row=row, grant=grant, keep=keep
        )
        with gateway.rollout.observed(place, row) as seen, settled:
            async with exchange.cancelled_on_hang_up(time_limit):
                versions = (route.ref, arms[0].model, route.index, screens.VERSION)
                async with gateway.cache.flight(ask, row.id, route.embedder, versions) as flight:
                    known = _known(gateway, ask, row, flight, stale)
                    if known is not None:
                        passages, pieces = known.passages, _replayed(known)
                    else:
                        sparse = SPARSE in arms[0].pool.ladder
                        passages, messages = await prepare(gateway, route, ask, row, sparse)
                        seen.input_findings = len(row.findings)
                        if "retrieval" not in row.degraded and route.abstains(ask, passages):
                            pieces = _abstention(row, route.template.refusal)
                        else:
                            written = generate(gateway, arms, ask, messages, row=row, claim=claim)
                            pieces = _screen_output(gateway, ask, written, passages, row)
                    row.passages = [rows.passage_row(passage) for passage in passages or ()]
                    last_resort = partial(_overtaken, gateway, ask, arms[0])
                    whole = await _deliver(reply, pieces, passages, row, last_resort)
                    if not LESSER.intersection(row.degraded.split(",")):
                        flight.land(whole)
                        if known is None:
                            gateway.stale.keep(ask, arms[0].adapter, whole)
        await reply.conclude()
    gateway.rollout.shadow(ask, place)


def _in_line(arm: Arm, row: RequestRow) -> bool:
    """Whether it waits for its turn; where no engine runs, what it waits for is the engine."""
    return not row.queue_ms and any(seat.ready for seat in arm.pool.seats)


def _begin(gateway: Gateway, ask: Ask, who: Principal, place: Place, arm: Arm) -> RequestRow:
    row = RequestRow(
        id=ask.id or rows.new_answer_id(),
        at=rows.now(),
        key=who.id,
        subject=ask.user or who.id,
        route=place.route.ref,
        model=arm.model,
        kind=ask.kind,
        consent="store" if ask.store else "",
    )
    if arm is not place.arm:
        row.degrade("fallback" if place.arm.pool.is_broken else CHEAPER)
    if gateway.door.failing:
        row.degrade("ledger")
    if gateway.leases.failing:
        row.degrade("budgets")
    return row


@contextmanager
def _admitted(gateway: Gateway, ask: Ask, arm: Arm, claim: Claim) -> Iterator[Answer | None]:
    """A place in the arm's pool; or, where that has far too much to do, what was answered in better
    times, which needs no place."""
    stale = _overtaken(gateway, ask, arm) if STALE in arm.pool.ladder else None
    if stale is not None:
        yield stale
        return
    with arm.pool.admit(claim):
        yield None


def _overtaken(gateway: Gateway, ask: Ask, arm: Arm) -> Answer | None:
    """What ``ask`` was answered by a version that is not served any more, or in better times."""
    return gateway.stale.find(ask, arm.adapter, gateway.router.erased)


async def _deliver(
    reply: Reply,
    pieces: AsyncGenerator[Piece, None],
    passages: tuple[Passage, ...] | None,
    row: RequestRow,
    last_resort: Callable[[], Answer | None],
) -> Answer:
    """Have ``pieces`` sent on; where nothing of them comes, what was answered in better times."""
    try:
        return await reply.deliver(pieces, passages)
    except (EngineFailed, Overloaded):
        stale = None if reply.text else last_resort()
        if stale is None:
            raise
        row.degrade(STALE)
        row.passages = [rows.passage_row(passage) for passage in stale.passages or ()]
        return await reply.deliver(_replayed(stale), stale.passages)


def _known(
    gateway: Gateway, ask: Ask, row: RequestRow, flight: Flight, stale: Answer | None
) -> Answer | None:
    """What the caches know. A question answered by its like is new, so it is screened."""
    row.cached, row.alike = flight.answer is not None, flight.alike
    if flight.degraded:
        row.degrade("cache")
    if row.cached and row.alike:
        row.degrade("alike")
        screen_question(gateway, ask, row)
    if flight.answer is None and stale is not None:
        row.degrade(STALE)
    return flight.answer or stale


def _screen_output(
    gateway: Gateway,
    ask: Ask,
    pieces: AsyncGenerator[Piece, None],
    passages: Sequence[Passage] | None,
    row: RequestRow,
) -> AsyncGenerator[Piece, None]:
    """``pieces`` as they may be shown; what was masked is noted in ``row``."""
    cited = None if passages is None or ask.structured else len(passages)
    screen = screens.OutputScreen(gateway.settings.serve.screen_output, cited, ask.structured)

    def note(found: Sequence[Finding]) -> None:
        row.findings += [rows.finding_row(each) for each in found]
        gateway.metrics.count_findings("output", found)

    return screens.screened(pieces, screen, note)


async def _abstention(row: RequestRow, refusal: str) -> AsyncGenerator[Piece, None]:
    """The answer to what the documents are plainly not about; no model is asked."""
    row.degrade("abstained")
    yield Piece(refusal, "stop", Usage())


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
