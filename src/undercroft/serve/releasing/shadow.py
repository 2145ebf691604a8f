"""A request answered once more by another route, unseen: does that route work at all?"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from undercroft.errors import UndercroftError
from undercroft.serve.admission.claim import in_background
from undercroft.serve.generation import generate
from undercroft.serve.journal import rows
from undercroft.serve.journal.rows import RequestRow
from undercroft.serve.pools.route import Route
from undercroft.serve.prompting.preparation import prepare
from undercroft.serve.wire.asks import Ask
from undercroft.serve.wire.failures import TooManyRequests

if TYPE_CHECKING:
    from undercroft.serve.gateway import Gateway

log = logging.getLogger(__name__)


async def fails(gateway: Gateway, ask: Ask, route: Route) -> bool:
    """Whether ``route`` cannot answer ``ask``. Nothing of it is kept, and nobody is charged.

    A lack of room is no failure: it says nothing about the route.
    """
    arm = route.choose(route.name, "shadow")[0]
    row = RequestRow(
        id=rows.new_answer_id(), at=rows.now(), key="", subject="", route=route.ref,
        model=arm.model, kind=ask.kind,
    )  # fmt: skip
    patience = gateway.settings.serve.timeout_s
    try:
        claim = in_background(patience)
        with arm.pool.admit(claim):
            async with asyncio.timeout(patience):
                passages, messages = await prepare(gateway, route, ask, row)
                if route.abstains(ask, passages):
                    return False
                said = generate(gateway, (arm,), ask, messages, row=row, claim=claim)
                began = time.monotonic()
                async with aclosing(said):
                    async for _ in said:
                        pass
                log.debug("a shadow answer took %.2f s", time.monotonic() - began)
    except TooManyRequests:
        return False
    except (UndercroftError, TimeoutError):
        log.info("a shadow request failed", exc_info=True)
        return True
    return False
