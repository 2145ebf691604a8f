"""Connections of clients that mean harm: how long a request may take to come, an answer to go.

uvicorn waits for the head of a request as long as it likes, so that a few hundred half-sent ones
(slow loris) would take every file descriptor there is, keeps as many headers as come, reads on
whatever is sent after a refusal, and waits for ever for clients that do not read. Fields that come
after a body in chunks it takes for headers, so that they replaced what a proxy had looked at; here
they are passed over (RFC 9110, 6.5.1). `exchange` sees to bodies that are wanted.

A client that closes its half of the connection has hung up: that it might still be reading cannot
be told from its being gone, and what is written for nobody holds a slot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from undercroft.serve.wire.exchange import new_request_id
from undercroft.serve.wire.failures import HttpError, body_of

HEAD_WITHIN_S = 20.0  # from the first byte; of a new connection, from its beginning
MAX_HEAD_BYTES = 256_000  # of headers that did not come in one piece; of what frames a body
FRAMES_PER_BYTE = 8  # of a body: one that comes in chunks of a byte has five around each
READ_WITHIN_S = 10.0  # what waits to be sent, when it has grown to 64 kB, down to a quarter of that
REST_BYTES = 4_000_000  # of a body that was refused, read so that the refusal arrives
REST_WITHIN_S = 5.0


Wait = Literal["head", "read", "rest"]


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which closes connections that hold things up."""

    _is_in_head = True
    _head_bytes = 0
    _frame_bytes = 0  # of sizes, extensions and trailers of chunks, less what the body allows
    _rest_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._waits: dict[Wait, asyncio.TimerHandle] = {}
        self._wait("head", HEAD_WITHIN_S, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        if not self._is_in_head:
            self._frame_bytes += len(data)
        super().data_received(data)
        if self._frame_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The body's chunks have too much around them.")
        if "rest" in self._waits:
            self._rest_bytes -= len(data)
            if self._rest_bytes < 0:
                self.transport.abort()
        if not self._is_in_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.send_400_response("The headers are too large.")
        elif "head" not in self._waits:
            self._wait("head", HEAD_WITHIN_S, self.timeout_keep_alive_handler)

    def send_400_response(self, msg: str) -> None:
        if self.cycle is not None and self.cycle.response_started != self.cycle.response_complete:
            self.transport.abort()  # what is said now would look like a part of an answer
            return
        said = body_of(HttpError(400, "invalid_http", msg))
        body = msgspec.json.encode(said)
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            f"x-request-id: {new_request_id()}\r\nconnection: close\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def on_message_begin(self) -> None:
        self._is_in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._frame_bytes -= (1 + FRAMES_PER_BYTE) * len(body)
        super().on_body(body)

    def on_headers_complete(self) -> None:
        self._is_in_head, self._head_bytes, self._frame_bytes = False, 0, 0
        self._wait_no_more("head")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._wait_no_more("rest")
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.more_body and not self.transport.is_closing():  # it did not want all of it
            self._rest_bytes = REST_BYTES
            self._wait("rest", REST_WITHIN_S, self.transport.abort)

    def pause_writing(self) -> None:
        self._wait("read", READ_WITHIN_S, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        self._wait_no_more("read")
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # it never read its answer
        super().timeout_keep_alive_handler()

    def connection_lost(self, exc: Exception | None) -> None:
        for what in list(self._waits):
            self._wait_no_more(what)
        super().connection_lost(exc)

    def _wait(self, what: Wait, seconds: float, otherwise: Callable[[], None]) -> None:
        self._waits[what] = self.loop.call_later(seconds, otherwise)

    def _wait_no_more(self, what: Wait) -> None:
        timer = self._waits.pop(what, None)
        if timer is not None:
            timer.cancel()
