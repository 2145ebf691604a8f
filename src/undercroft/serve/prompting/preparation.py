"""What the model is to read: the input screened, and the passages for the question, at once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from undercroft.records import Passage
from undercroft.retrieve.following import standing_alone
from undercroft.retrieve.prompt import QUESTION_CHARACTERS
from undercroft.serve.admission.ladder import SPARSE
from undercroft.serve.guards import screens
from undercroft.serve.journal import rows
from undercroft.serve.journal.rows import RequestRow
from undercroft.serve.pools.route import Route
from undercroft.serve.prompting import grounding, history, tokens
from undercroft.serve.prompting.grounding import Messages
from undercroft.serve.wire.asks import Ask
from undercroft.serve.wire.failures import HttpError

if TYPE_CHECKING:
    from undercroft.serve.gateway import Gateway

log = logging.getLogger(__name__)

LONGEST_TOKEN = 256  # characters; vocabularies have runs of 128 spaces


async def prepare(
    gateway: Gateway, route: Route, ask: Ask, row: RequestRow, sparse: bool = False
) -> tuple[tuple[Passage, ...] | None, Messages]:
    """Screen the input and search for passages at the same time; what the model is to read.

    Passages are None when nothing is looked up: the client does not want it, or there is no index.
    With ``sparse`` they are half as many: there is too much to read.
    Raises `HttpError` 400 for a request that is plainly an attack.
    """
    reads = route.reads_for(ask)
    if reads and sparse:
        row.degrade(SPARSE)
    searching = asyncio.ensure_future(_retrieve(gateway, route, ask, row)) if reads else None
    try:
        screen_question(gateway, ask, row)
        if searching is None:
            return None, await _fitted(gateway, route, ask, grounding.plain(ask), row)
        passages = await searching
    finally:
        if searching is not None:
            searching.cancel()
    if len(ask.question) > QUESTION_CHARACTERS:
        row.degrade("question-cut")
    messages = grounding.grounded(ask, passages, route.template)
    return passages, await _fitted(gateway, route, ask, messages, row)


async def _fitted(
    gateway: Gateway, route: Route, ask: Ask, messages: Messages, row: RequestRow
) -> Messages:
    """``messages`` cut to the context, if there is anything that may be left out. Raises
    `HttpError` 400 for what cannot be within it, which an engine would count for seconds."""
    pool = route.arms[0].pool
    seat = next((seat for seat in pool.seats if seat.ready and seat.replica.local), None)
    if seat is None and not route.reads_for(ask):
        return messages  # how much a remote model reads is not known here
    context = gateway.settings.model.context
    if len(ask.turns) > 1:
        room = max(context - ask.max_tokens, context // 2)
        if "tools" in ask.sampling:
            room -= history.tokens_of(str(ask.sampling["tools"]))
        counted = partial(tokens.count, gateway.client, seat.replica.url if seat else "")
        messages, is_cut = await history.fitted(messages, room, counted)
        if is_cut:
            row.degrade("history-cut")
    if seat is not None:
        said = (message["content"] for message in messages)
        _refuse_endless([ask.prompt, *(text for text in said if isinstance(text, str))], context)
    return messages


def _refuse_endless(texts: Sequence[str], context: int) -> None:
    size = sum(map(len, texts))
    if size > context * LONGEST_TOKEN:
        raise HttpError(
            400, "context_length_exceeded", "The request is longer than the model's context.",
            f"It has {size:,} characters, and the context {context} tokens.", "Send less.",
            param="messages",
        )  # fmt: skip


def screen_question(gateway: Gateway, ask: Ask, row: RequestRow) -> None:
    """Note what is suspicious in what the client wrote. Raises `HttpError` 400 as `prepare`."""
    if gateway.settings.serve.screen_input:
        found = screens.screen_input(ask.text)
        row.findings += [rows.finding_row(each) for each in found]
        gateway.metrics.count_findings("input", found)
        screens.refuse_if_certain(found)


async def _retrieve(
    gateway: Gateway, route: Route, ask: Ask, row: RequestRow
) -> tuple[Passage, ...]:
    """The passages for the question; none, and the answer is marked, when the index fails."""
    settings = gateway.settings.retrieve
    count = settings.passages if SPARSE not in row.degraded else (settings.passages + 1) // 2
    assert route.retriever is not None
    search = partial(route.retriever.search, rerank=settings.rerank)
    began = time.perf_counter()
    try:
        found = await asyncio.get_running_loop().run_in_executor(
            gateway.search_threads,
            search,
            _searched(ask) if settings.follow_up else ask.question,
            count,
            settings.candidates,
        )
    except Exception:
        log.exception("the index could not be searched")
        gateway.router.stale = True
        row.degrade("retrieval")
        return ()
    finally:
        row.retrieve_ms = (time.perf_counter() - began) * 1000
    return tuple(passage for passage in found if passage.document not in gateway.router.erased)


def _searched(ask: Ask) -> str:
    """The last question, with what it leans on."""
    *earlier, question = [turn.content for turn in ask.turns if turn.role == "user"]
    return standing_alone(question, earlier) if earlier else question
