"""What the model is to read: the input screened, and the passages for the question, at once."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from undercroft.records import Passage
from undercroft.retrieve.prompt import QUESTION_CHARACTERS
from undercroft.serve.admission.ladder import SPARSE
from undercroft.serve.guards import screens
from undercroft.serve.journal import rows
from undercroft.serve.journal.rows import RequestRow
from undercroft.serve.pools.route import Route
from undercroft.serve.prompting import grounding
from undercroft.serve.prompting.grounding import Messages
from undercroft.serve.wire.asks import Ask

if TYPE_CHECKING:
    from undercroft.serve.gateway import Gateway

log = logging.getLogger(__name__)


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
            return None, grounding.plain(ask)
        passages = await searching
    finally:
        if searching is not None:
            searching.cancel()
    if len(ask.question) > QUESTION_CHARACTERS:
        row.degrade("question-cut")
    context = gateway.settings.model.context
    return passages, grounding.grounded(ask, passages, route.template, context)


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
    began = time.perf_counter()
    try:
        found = await asyncio.get_running_loop().run_in_executor(
            gateway.search_threads,
            route.retriever.search,
            ask.question,
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
