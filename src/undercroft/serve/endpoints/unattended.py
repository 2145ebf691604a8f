"""A response that is written with nobody waiting, and those who take up its stream later."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from undercroft.errors import UndercroftError
from undercroft.serve.wire.asks import Ask
from undercroft.serve.wire.envelope import Response
from undercroft.serve.wire.exchange import AsgiMessage, Exchange

CANCELLED_WITHIN_S = 5.0


class Unattended:
    """Stands in for the client, which hangs up to cancel. Where the response ``streams``, what is
    sent is kept as ``events``, each with the number that it has in the stream."""

    def __init__(self, streams: bool) -> None:
        self.streams = streams
        self.events: list[bytes] = []
        self.task: asyncio.Task[None] | None = None
        self._hung_up = asyncio.Event()
        self._news = asyncio.Event()  # a new one after each that was told
        self._is_done = False

    async def receive(self) -> AsgiMessage:
        await self._hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: AsgiMessage) -> None:
        if self.streams and message.get("body"):
            self._take(message["body"])

    def _take(self, body: bytes) -> None:
        self.events += [event + b"\n\n" for event in body.split(b"\n\n") if event]
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def end(self, exchange: Exchange, ask: Ask, failure: UndercroftError) -> None:
        """Add the events that say why there is no more."""
        if not self.streams:
            return
        if exchange.started:
            self._take(exchange.failed(failure))
            return
        envelope = Response(ask.id, ask.model, ask.echo or {})
        self._take(envelope.opening(1) + envelope.failed(failure))

    def finish(self) -> None:
        """No more events come."""
        self._is_done = True
        self._tell()

    async def cancel(self) -> None:
        self._hung_up.set()
        if self.task is not None:
            await asyncio.wait([self.task], timeout=CANCELLED_WITHIN_S)

    async def follow(self, exchange: Exchange, number: int) -> None:
        """Send the events from ``number`` on as they come, to their end."""
        await exchange.start_stream(exchange.failed)
        async with exchange.cancelled_on_hang_up():
            while True:
                news = self._news
                coming = self.events[number:]
                if coming:
                    number += len(coming)
                    await exchange.frame(b"".join(coming))
                elif self._is_done:
                    break
                else:
                    await news.wait()
        await exchange.last_frame(b"")


async def replay(exchange: Exchange, events: Iterable[bytes]) -> None:
    """Send ``events`` at once."""
    await exchange.start_stream(exchange.failed)
    await exchange.last_frame(b"".join(events))
