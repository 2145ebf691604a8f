"""What can be done with responses: ask for one, read, list its input, cancel, delete."""

from __future__ import annotations

import asyncio
import logging
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from undercroft.errors import Cancelled, StorageFull
from undercroft.records import Principal
from undercroft.serve.answer import answer
from undercroft.serve.endpoints import items
from undercroft.serve.endpoints.unattended import Unattended, replay
from undercroft.serve.journal.rows import RequestRow
from undercroft.serve.journal.shelf import Kept
from undercroft.serve.reply import Reply
from undercroft.serve.wire import response_asks
from undercroft.serve.wire.asks import Ask
from undercroft.serve.wire.bodies import FunctionCall, Message, ToolCall
from undercroft.serve.wire.envelope import Response
from undercroft.serve.wire.exchange import Exchange
from undercroft.serve.wire.failures import HttpError, as_undercroft, invalid, of_response
from undercroft.serve.wire.pieces import Piece

if TYPE_CHECKING:
    from undercroft.serve.gateway import Gateway

log = logging.getLogger(__name__)

MAX_UNATTENDED = 1_000
NAME = re.compile("[A-Za-z0-9_.-]{1,64}")


async def create(gateway: Gateway, exchange: Exchange) -> None:
    """``POST /v1/responses``."""
    said = response_asks.decode(await exchange.body(gateway.max_body_bytes))
    who = await gateway.identify(exchange, "chat")
    before: list[Message] = []
    if said.previous_response_id:
        last = await asyncio.to_thread(gateway.shelf.get, said.previous_response_id, who.id)
        before = last.messages
    await items.look_up(gateway, said, who)
    ask, spoken = response_asks.ask_of(said, before, gateway.route.sampling)
    kept = Kept({}, items.recorded(said, ask.id), spoken)
    if said.background:
        await _begin(gateway, exchange, ask, who, kept)
    else:
        keep = partial(_keep, gateway, kept) if said.store is not False else None
        await answer(gateway, exchange, lambda *_: ask, keep=keep)


async def read(gateway: Gateway, exchange: Exchange) -> None:
    """``GET /v1/responses/ID``; with ``?stream=true`` its events, after ``starting_after``."""
    who = await gateway.identify(exchange, "chat")
    if exchange.query.get("stream", "false") != "true":
        await exchange.reply_json(200, await _response(gateway, exchange.named, who))
        return
    after = exchange.query.get("starting_after", "-1")
    if not after.removeprefix("-").isdecimal():
        raise invalid("starting_after", "It is the number of an event.")
    kept = await asyncio.to_thread(gateway.shelf.get, exchange.named, who.id)
    running = gateway.unattended.get(exchange.named)
    if running is not None and running.streams:
        await running.follow(exchange, int(after) + 1)
        return
    if running is not None or kept.response["status"] == "queued":
        raise HttpError(
            400, "not_streamed", "The response is not written as a stream.", "",
            "Ask for it again without stream, or create it with stream.", param="stream",
        )  # fmt: skip
    events = kept.events or Response("", "", {}).again(kept.response)
    await replay(exchange, events[int(after) + 1 :])


async def input_items(gateway: Gateway, exchange: Exchange) -> None:
    """``GET /v1/responses/ID/input_items``."""
    who = await gateway.identify(exchange, "chat")
    kept = await asyncio.to_thread(gateway.shelf.get, exchange.named, who.id)
    await exchange.reply_json(200, items.page(kept.input, exchange.query))


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
        error = {"code": "server_error", "message": "The gateway was stopped before it was done."}
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
    running = Unattended(ask.stream)
    gateway.unattended[ask.id] = running
    stand_in = exchange.for_another(running.receive, running.send)
    running.task = asyncio.create_task(_write(gateway, stand_in, ask, who, kept))
    if ask.stream:
        await running.follow(exchange, 0)
    else:
        await exchange.reply_json(200, kept.response)


async def _write(
    gateway: Gateway, exchange: Exchange, ask: Ask, who: Principal, kept: Kept
) -> None:
    running, queued = gateway.unattended[ask.id], kept.response
    try:
        try:
            await answer(gateway, exchange, lambda *_: ask, keep=partial(_keep, gateway, kept))
        except Cancelled as hung_up:
            kept.response = queued | {"status": "cancelled"}
            running.end(exchange, ask, hung_up)
        except Exception as error:
            failure = as_undercroft(error)
            if failure is not error:
                log.exception("%s failed", ask.id)
            gateway.refused(failure)
            kept.response = queued | {"status": "failed", "error": of_response(failure)}
            running.end(exchange, ask, failure)
        if running.events or kept.response["status"] in ("cancelled", "failed"):
            kept.events = running.events
            try:
                gateway.shelf.put(ask.user or who.id, who.id, kept)
            except StorageFull:
                log.exception("what became of %s could not be kept", ask.id)
    finally:
        gateway.unattended.pop(ask.id, None)
        gateway.door.leave(exchange)
        running.finish()


def _keep(gateway: Gateway, kept: Kept, row: RequestRow, reply: Reply) -> None:
    """Put the finished response on the shelf; the answer is marked where that cannot be done."""
    kept.response = msgspec.json.decode(reply.body())
    kept.messages = [*kept.messages, _said(reply.choices[0])]
    try:
        gateway.shelf.put(row.subject, row.key, kept)
    except StorageFull:
        log.exception("a response could not be kept")
        row.degrade("keep")


def _said(choice: Piece) -> Message:
    calls = [
        ToolCall(call.id, FunctionCall(call.name, call.arguments))
        for call in choice.tools or ()
        if NAME.fullmatch(call.name)  # an engine may write what no client may
    ]
    return Message("assistant", choice.text or None, tool_calls=calls or None)
