"""What can be done with responses: ask for one, read, list its input, cancel, delete."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from undercroft.errors import Cancelled, UndercroftError
from undercroft.records import Principal
from undercroft.serve.answer import answer
from undercroft.serve.journal.rows import RequestRow
from undercroft.serve.journal.shelf import Kept
from undercroft.serve.reply import Reply
from undercroft.serve.wire import response_asks
from undercroft.serve.wire.asks import Ask
from undercroft.serve.wire.bodies import FunctionCall, Message, ToolCall
from undercroft.serve.wire.envelope import Response
from undercroft.serve.wire.exchange import AsgiMessage, Exchange
from undercroft.serve.wire.failures import HttpError, as_undercroft
from undercroft.serve.wire.pieces import Piece

if TYPE_CHECKING:
    from undercroft.serve.gateway import Gateway

log = logging.getLogger(__name__)

MAX_UNATTENDED = 1_000
CANCELLED_WITHIN_S = 5.0


@dataclass
class Unattended:
    """A response that is being written with nobody waiting; its client hangs up to cancel it."""

    task: asyncio.Task[None] | None = None
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self) -> AsgiMessage:
        await self.hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: AsgiMessage) -> None:
        """Nobody reads it: the response is kept."""

    async def cancel(self) -> None:
        self.hung_up.set()
        if self.task is not None:
            await asyncio.wait([self.task], timeout=CANCELLED_WITHIN_S)


async def create(gateway: Gateway, exchange: Exchange) -> None:
    """``POST /v1/responses``."""
    said = response_asks.decode(await exchange.body(gateway.max_body_bytes))
    who = await gateway.identify(exchange, "chat")
    before: list[Message] = []
    if said.previous_response_id:
        last = await asyncio.to_thread(gateway.shelf.get, said.previous_response_id, who.id)
        before = last.messages
    ask, spoken = response_asks.ask_of(said, before, gateway.route.sampling)
    kept = Kept({}, _input(said), spoken)
    if said.background:
        await _begin(gateway, exchange, ask, who, kept)
    else:
        keep = partial(_keep, gateway, kept) if said.store is not False else None
        await answer(gateway, exchange, lambda *_: ask, keep=keep)


async def read(gateway: Gateway, exchange: Exchange) -> None:
    """``GET /v1/responses/ID``."""
    who = await gateway.identify(exchange, "chat")
    await exchange.reply_json(200, await _response(gateway, exchange.named, who))


async def items(gateway: Gateway, exchange: Exchange) -> None:
    """``GET /v1/responses/ID/input_items``."""
    who = await gateway.identify(exchange, "chat")
    kept = await asyncio.to_thread(gateway.shelf.get, exchange.named, who.id)
    ids = [item["id"] for item in kept.input]
    ends = {"first_id": ids[0], "last_id": ids[-1]} if ids else {"first_id": None, "last_id": None}
    page = {"object": "list", "data": kept.input, **ends, "has_more": False}
    await exchange.reply_json(200, page)


async def delete(gateway: Gateway, exchange: Exchange) -> None:
    """``DELETE /v1/responses/ID``; one that is still being written is cancelled first."""
    who = await gateway.identify(exchange, "chat")
    await asyncio.to_thread(gateway.shelf.get, exchange.named, who.id)  # or it is not theirs
    if running := gateway.unattended.get(exchange.named):
        await running.cancel()
    await asyncio.to_thread(gateway.shelf.delete, exchange.named, who.id)
    gone = {"id": exchange.named, "object": "response", "deleted": True}
    await exchange.reply_json(200, gone)


async def cancel(gateway: Gateway, exchange: Exchange) -> None:
    """``POST /v1/responses/ID/cancel``: the response as it stands then."""
    who = await gateway.identify(exchange, "chat")
    response = await _response(gateway, exchange.named, who)
    if not response["background"]:
        raise HttpError(
            400, "not_in_background", "Only responses in the background can be cancelled.", "",
            "Hang up to cancel one that you wait for.",
        )  # fmt: skip
    if running := gateway.unattended.get(exchange.named):
        await running.cancel()
        response = await _response(gateway, exchange.named, who)
    await exchange.reply_json(200, response)


async def _response(gateway: Gateway, response_id: str, who: Principal) -> dict[str, Any]:
    """The kept response, with what is known of one that is not finished."""
    response = (await asyncio.to_thread(gateway.shelf.get, response_id, who.id)).response
    if response["status"] == "queued":
        if response_id in gateway.unattended:
            return response | {"status": "in_progress"}
        error = {"code": "interrupted", "message": "The gateway was stopped before it was done."}
        return response | {"status": "failed", "error": error}
    return response


async def _begin(
    gateway: Gateway, exchange: Exchange, ask: Ask, who: Principal, kept: Kept
) -> None:
    """Have it written while nobody waits; the client gets it as it stands now: queued."""
    if len(gateway.unattended) >= MAX_UNATTENDED:
        raise HttpError(429, "too_many_responses", "Too many responses are under way.")
    kept.response = Response(ask.id, ask.model, ask.echo or {}).object("queued")
    subject = ask.user or who.id
    await gateway.ready_to_seal(subject)
    await asyncio.to_thread(gateway.shelf.put, subject, who.id, kept)
    running = Unattended()
    gateway.unattended[ask.id] = running
    stand_in = exchange.for_another(running.receive, running.send)
    running.task = asyncio.create_task(_write(gateway, stand_in, ask, who, kept))
    await exchange.reply_json(200, kept.response)


async def _write(
    gateway: Gateway, exchange: Exchange, ask: Ask, who: Principal, kept: Kept
) -> None:
    queued, subject = kept.response, ask.user or who.id
    try:
        await answer(gateway, exchange, lambda *_: ask, keep=partial(_keep, gateway, kept))
    except Cancelled:
        kept.response = queued | {"status": "cancelled"}
    except Exception as error:
        failure = as_undercroft(error)
        if failure is not error:
            log.exception("%s failed", ask.id)
        gateway.refused(failure)
        kept.response = queued | {"status": "failed", "error": _error(failure)}
    finally:
        if kept.response is not queued and kept.response["status"] in ("cancelled", "failed"):
            gateway.shelf.put(subject, who.id, kept)
        gateway.unattended.pop(ask.id, None)
        gateway.door.leave(exchange)


def _keep(gateway: Gateway, kept: Kept, row: RequestRow, reply: Reply) -> None:
    """Put the finished response on the shelf; the answer is marked where that cannot be done."""
    kept.response = msgspec.json.decode(reply.body())
    kept.messages = [*kept.messages, _said(reply.choices[0])]
    try:
        gateway.shelf.put(row.subject, row.key, kept)
    except OSError:
        log.exception("a response could not be kept")
        row.degrade("keep")


def _said(choice: Piece) -> Message:
    calls = [
        ToolCall(call.id, FunctionCall(call.name, call.arguments)) for call in choice.tools or ()
    ]
    return Message("assistant", choice.text or None, tool_calls=calls or None)


def _input(said: response_asks.ResponseBody) -> list[dict[str, Any]]:
    """The items of a request, each with an id; a text is a message of the user."""
    if isinstance(said.input, str):
        content = [{"type": "input_text", "text": said.input}]
        found: list[dict[str, Any]] = [{"type": "message", "role": "user", "content": content}]
    else:
        found = [
            {name: value for name, value in msgspec.to_builtins(item).items() if value is not None}
            for item in said.input
        ]
    return [{"id": f"msg_{number}", **item} for number, item in enumerate(found)]


def _error(failure: UndercroftError) -> dict[str, str]:
    return {"code": failure.code, "message": str(failure)}
