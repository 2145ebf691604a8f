"""Pieces of text -> the client: events as they come, or one JSON body at the end."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from undercroft.errors import EngineFailed
from undercroft.records import Passage
from undercroft.serve import grounding
from undercroft.serve.asks import Ask
from undercroft.serve.budgets import estimate_tokens
from undercroft.serve.cache import Answer
from undercroft.serve.exchange import Exchange
from undercroft.serve.frames import Envelope, Source, Usage
from undercroft.serve.rows import RequestRow
from undercroft.serve.upstream import Piece


class Reply:
    """One answer on its way to one client. ``text`` is what the client has been sent, or will be.

    Headers go out with the first text, so that whatever fails before has a status of its own.
    """

    def __init__(self, exchange: Exchange, ask: Ask, row: RequestRow) -> None:
        self._exchange = exchange
        self._ask = ask
        self._row = row
        self._envelope = Envelope(row.id, ask.model, ask.kind)
        self._parts: list[str] = []
        self._usage: Usage | None = None
        self.finish_reason = ""

    @property
    def text(self) -> str:
        return "".join(self._parts)

    @property
    def usage(self) -> Usage:
        """Tokens as the engine counted them, or an estimate when it was stopped before it did."""
        if self._usage is not None:
            return self._usage
        read = estimate_tokens(self._ask.text)
        written = estimate_tokens(self.text) if self._parts else 0
        return Usage(read, written, read + written)

    async def deliver(
        self, pieces: AsyncGenerator[Piece, None], passages: tuple[Passage, ...] | None
    ) -> Answer:
        """Take every piece, sending it on at once when the client wants a stream."""
        async with aclosing(pieces) as flow:
            async for piece in flow:
                self._usage = piece.usage or self._usage
                self.finish_reason = piece.finish_reason or self.finish_reason
                if piece.text:
                    await self._take(piece.text)
        if not self.finish_reason:
            raise EngineFailed("The engine ended without saying why.")
        return Answer(self.text, self.finish_reason, self.usage, passages)

    async def conclude(self, passages: Sequence[Passage] | None) -> None:
        """The last bytes; after them the client has the whole answer and its ``passages``."""
        shown: list[Source] | None = None
        if passages is not None:
            shown = grounding.sources(passages, self.text)
        if not self._ask.stream:
            self._say_headers()
            body = self._envelope.body(self.text, self.finish_reason, self.usage, shown)
            await self._exchange.reply(200, body, [(b"content-type", b"application/json")])
            return
        if not self._exchange.started:  # an empty answer is an answer
            await self._begin_stream(b"")
        usage = self.usage if self._ask.include_usage else None
        ending = self._envelope.ending(self.finish_reason, usage, shown)
        await self._exchange.frame(ending, last=True)

    async def _take(self, text: str) -> None:
        if not self._parts:
            self._row.ttft_ms = (time.perf_counter() - self._exchange.began) * 1000
        self._parts.append(text)
        if not self._ask.stream:
            return
        if self._exchange.started:
            await self._exchange.frame(self._envelope.text(text))
        else:
            await self._begin_stream(self._envelope.text(text))

    async def _begin_stream(self, first: bytes) -> None:
        self._say_headers()
        await self._exchange.start_stream()
        await self._exchange.frame(self._envelope.role() + first)

    def _say_headers(self) -> None:
        row = self._row
        timing = f"queue;dur={row.queue_ms:.1f}, retrieve;dur={row.retrieve_ms:.1f}"
        headers = {
            b"x-answer-id": row.id,
            b"x-model": row.model,
            b"x-route": row.route,
            b"server-timing": timing,
            b"x-cache": "hit" if row.cached else "",
            b"x-degraded": row.degraded,
            b"x-screen": ",".join(sorted({found.rule for found in row.findings})),
        }
        self._exchange.extra += [(name, value.encode()) for name, value in headers.items() if value]
