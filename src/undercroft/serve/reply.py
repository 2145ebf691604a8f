"""Pieces of text -> the client: events as they come, or one JSON body at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from functools import cached_property

from undercroft.errors import EngineFailed
from undercroft.records import Passage
from undercroft.serve.admission.budgets import estimate_tokens
from undercroft.serve.caches.cache import Answer
from undercroft.serve.journal.rows import RequestRow
from undercroft.serve.prompting import grounding
from undercroft.serve.wire.asks import Ask
from undercroft.serve.wire.envelope import Response
from undercroft.serve.wire.exchange import Exchange
from undercroft.serve.wire.frames import Completion, Envelope, Source
from undercroft.serve.wire.pieces import Piece, Usage, total

HEARTBEAT = b": waiting\n\n"  # a comment, which clients of events pass over
LOOK_S = 1.0  # between two looks whether a request is still in the line


class Reply:
    """One answer on its way to one client. ``choices`` are what the client has been sent, or will
    be, of each of the answers it wants.

    Headers go out with the first text, so that whatever fails before has a status of its own; or
    with a heartbeat, where it takes longer than ``heartbeat_s`` (0: for ever) and the request is
    not ``in_line``, where it may yet be turned away.
    """

    def __init__(
        self,
        exchange: Exchange,
        ask: Ask,
        row: RequestRow,
        *,
        heartbeat_s: float,
        in_line: Callable[[], bool],
    ) -> None:
        self._exchange = exchange
        self._ask = ask
        self._row = row
        self._envelope: Envelope = (
            Completion(row.id, ask.model, ask.kind, ask.repeated)
            if ask.echo is None
            else Response(row.id, ask.model, ask.echo)
        )
        self._passages: Sequence[Passage] | None = None
        self._is_begun = False
        self._is_open = False  # whether the envelope's first events went out
        self._heartbeat_s = heartbeat_s if ask.stream else 0.0
        self._in_line = in_line
        self._sent_at = time.monotonic()
        self.choices = [Piece(index=index) for index in range(ask.n)]

    @property
    def text(self) -> str:
        """All that was said, calls of tools included."""
        said = [
            part
            for choice in self.choices
            for part in (
                choice.text,
                *(f"{call.name}({call.arguments})" for call in choice.tools or ()),
            )
            if part
        ]
        return "\n\n".join(said)

    @property
    def finish_reason(self) -> str:
        return self.choices[0].finish_reason or ""

    @cached_property
    def usage(self) -> Usage:
        """Tokens as the engine counted them, or an estimate when it was stopped before it did. Ask
        when nothing more is said."""
        counted = [choice.usage for choice in self.choices if choice.usage is not None]
        if not counted:
            read = estimate_tokens(self._ask.text)
            written = estimate_tokens(self.text) if self._is_begun else 0
            counted = [Usage(read, written)]
        thoughts = sum(len(choice.reasoning) for choice in self.choices)
        said = sum(len(choice.text) for choice in self.choices) + thoughts
        each = self._ask.n // max(1, len(self._ask.prompts))  # of them read the same prompt
        return total(counted[::each], counted, thoughts / said if thoughts else 0.0)

    async def deliver(
        self, pieces: AsyncGenerator[Piece, None], passages: tuple[Passage, ...] | None
    ) -> Answer:
        """Take every piece, sending it on at once when the client wants a stream."""
        self._passages = passages
        with self._beating():
            await self._show_all(pieces)
        if not all(choice.finish_reason for choice in self.choices):
            raise EngineFailed("The engine ended without saying why.")
        return Answer(tuple(self.choices), passages)

    async def _show_all(self, pieces: AsyncGenerator[Piece, None]) -> None:
        async with aclosing(pieces) as flow:
            async for piece in flow:
                self.choices[piece.index].take(piece)
                if piece.says:
                    await self._show(piece)

    @contextmanager
    def _beating(self) -> Iterator[None]:
        """Have a comment sent whenever nothing else was for a while."""
        if not self._heartbeat_s:
            yield
            return
        beats: list[asyncio.Task[None]] = []
        begin = asyncio.get_running_loop().call_later(
            self._heartbeat_s, lambda: beats.append(asyncio.ensure_future(self._beat()))
        )
        try:
            yield
        finally:
            begin.cancel()
            for task in beats:
                task.cancel()

    async def _beat(self) -> None:
        while True:
            rest_s = self._sent_at + self._heartbeat_s - time.monotonic()
            if rest_s > 0 or self._in_line():
                await asyncio.sleep(max(rest_s, LOOK_S))
                continue
            if not self._exchange.started:
                await self._start()
            await self._frame(HEARTBEAT)

    def body(self) -> bytes:
        """The whole answer as one JSON object."""
        return self._envelope.body(self.choices, self.usage, self._sources())

    async def conclude(self) -> None:
        """The last bytes; after them the client has the whole answer and its sources."""
        if not self._ask.stream:
            self._say_headers()
            json_ = [(b"content-type", b"application/json")]
            await self._exchange.reply(200, self.body(), json_)
            return
        if not self._is_open:  # an empty answer is an answer
            await self._begin_stream()
        usage = self.usage if self._ask.include_usage else None
        ending = self._envelope.ending(self.choices, usage, self._sources())
        await self._exchange.last_frame(ending)

    def _sources(self) -> list[Source] | None:
        return None if self._passages is None else grounding.sources(self._passages, self.text)

    async def _show(self, piece: Piece) -> None:
        if not self._is_begun:
            self._is_begun = True
            self._row.ttft_ms = (time.perf_counter() - self._exchange.began) * 1000
        if not self._ask.stream:
            return
        if self._is_open:
            await self._frame(self._envelope.piece(piece))
        else:
            await self._begin_stream(piece)

    async def _begin_stream(self, first: Piece | None = None) -> None:
        if not self._exchange.started:
            await self._start()
        self._is_open = True
        opening = self._envelope.opening(self._ask.n)
        await self._frame(opening + self._envelope.piece(first) if first else opening)

    async def _start(self) -> None:
        self._say_headers()
        await self._exchange.start_stream(self._envelope.failed)

    async def _frame(self, data: bytes) -> None:
        self._sent_at = time.monotonic()
        await self._exchange.frame(data)

    def _say_headers(self) -> None:
        row = self._row
        timing = f"queue;dur={row.queue_ms:.1f}, retrieve;dur={row.retrieve_ms:.1f}"
        headers = {
            b"x-undercroft-answer-id": row.id,
            b"x-undercroft-model": row.model,
            b"x-undercroft-route": row.route,
            b"server-timing": timing,
            b"x-undercroft-cache": "hit" if row.cached else "",
            b"x-undercroft-degraded": row.degraded,
            b"x-undercroft-screen": ",".join(sorted({found.rule for found in row.findings})),
        }
        self._exchange.extra += [(name, value.encode()) for name, value in headers.items() if value]
