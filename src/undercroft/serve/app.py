"""The ASGI application: paths to what answers them, and one place where errors become replies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from undercroft.errors import Cancelled, UndercroftError, nearest
from undercroft.serve.answer import answer
from undercroft.serve.endpoints import openapi, responses, state
from undercroft.serve.endpoints.embeddings import embed, rerank
from undercroft.serve.endpoints.feedback import rate
from undercroft.serve.endpoints.moderations import moderate
from undercroft.serve.gateway import Gateway
from undercroft.serve.wire import asks, versions
from undercroft.serve.wire.exchange import Exchange, Receive, Scope, Send
from undercroft.serve.wire.failures import (
    HttpError,
    TooManyRequests,
    as_undercroft,
    body_of,
    retry_headers,
)

log = logging.getLogger(__name__)

Endpoint = Callable[[Gateway, Exchange], Awaitable[None]]

ENDPOINTS: dict[str, dict[str, Endpoint]] = {
    "/v1/chat/completions": {"POST": partial(answer, parse=asks.parse_chat)},
    "/v1/completions": {"POST": partial(answer, parse=asks.parse_completion)},
    "/v1/responses": {"POST": responses.create},
    "/v1/responses/{id}": {"GET": responses.read, "DELETE": responses.delete},
    "/v1/responses/{id}/cancel": {"POST": responses.cancel},
    "/v1/responses/{id}/input_items": {"GET": responses.input_items},
    "/v1/embeddings": {"POST": embed},
    "/v1/rerank": {"POST": rerank},
    "/v1/moderations": {"POST": moderate},
    "/v1/feedback": {"POST": rate},
    "/v1/models": {"GET": state.models},
    "/v1/models/{id}": {"GET": state.model},
    "/health": {"GET": state.health},
    "/metrics": {"GET": state.metrics},
    "/openapi.json": {"GET": openapi.describe},
}
_NAMING = {path: path.partition("{id}")[::2] for path in ENDPOINTS if "{id}" in path}


class App:
    """A plain ASGI callable around one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send)
        try:
            exchange.version = versions.chosen(exchange.header(b"x-undercroft-version"))
            await find(exchange)(self._gateway, exchange)
        except asyncio.CancelledError:
            stopping = TooManyRequests("The gateway is stopping.", do="Try again shortly.")
            await self._refuse(exchange, stopping)
            raise
        except Exception as error:
            await self._refuse(exchange, as_undercroft(error), error)
        finally:
            self._gateway.door.leave(exchange)

    async def _refuse(
        self, exchange: Exchange, failure: UndercroftError, cause: Exception | None = None
    ) -> None:
        """Tell the client what went wrong: by status while that can be said, else in the stream."""
        if exchange.gone or isinstance(failure, Cancelled):
            return
        if failure.code == "internal_error":
            log.error("%s %s failed", exchange.request_id, exchange.path, exc_info=cause)
        self._gateway.refused(failure)
        if exchange.started:
            await exchange.last_frame(exchange.failed(failure))
        else:
            await exchange.reply_json(failure.http_status, body_of(failure), retry_headers(failure))


def find(exchange: Exchange) -> Endpoint:
    """What answers this path and method. Raises `HttpError` 404 or 405."""
    methods = ENDPOINTS.get(exchange.path) or _named(exchange)
    if methods is None:
        near = nearest(exchange.path, ENDPOINTS)
        raise HttpError(
            404, "unknown_path", f"There is nothing at {exchange.path[:200]}.",
            f"The nearest is {near}." if near else "",
        )  # fmt: skip
    endpoint = methods.get(exchange.method)
    if endpoint is None:
        allowed = " or ".join(methods)
        raise HttpError(405, "method_not_allowed", f"{exchange.path[:200]} takes {allowed} only.")
    return endpoint


def _named(exchange: Exchange) -> dict[str, Endpoint] | None:
    """The endpoints of a path that names one thing; its name goes into ``exchange``."""
    for path, (before, after) in _NAMING.items():
        if not exchange.path.startswith(before) or not exchange.path.endswith(after):
            continue
        name = exchange.path[len(before) : len(exchange.path) - len(after)]
        if name and "/" not in name:
            exchange.named = name
            return ENDPOINTS[path]
    return None
