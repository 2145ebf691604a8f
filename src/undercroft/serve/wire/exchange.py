"""One HTTP exchange over ASGI: its body within a limit, its reply, and a client that hangs up."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from undercroft.errors import Cancelled, UndercroftError
from undercroft.serve.wire import versions
from undercroft.serve.wire.failures import HttpError
from undercroft.serve.wire.frames import error_event

Scope = MutableMapping[str, Any]
AsgiMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]
Failed = Callable[[UndercroftError], bytes]
Headers = Iterable[tuple[bytes, bytes]]

BODY_WITHIN_S = 30.0  # a body that did not come in one piece
WATCHED_AFTER_S = 0.1  # an answer that is sooner done is not worth a task that waits for a hang-up

_READ_TIMEOUT = b"x-stainless-read-timeout"
_JSON = (b"content-type", b"application/json")
_SSE = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy that buffers would hold tokens back
)


class Exchange:
    """A request and the reply to it. ``began`` is when it arrived, on the monotonic clock."""

    __slots__ = (
        "_body", "_ending", "_receive", "_send", "_watch", "_work", "began", "extra", "failed",
        "gone", "headers", "method", "named", "path", "query_string", "request_id", "started",
        "version",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.began = time.perf_counter()
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query_string: bytes = scope.get("query_string", b"")
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.request_id = new_request_id()
        self.started = False  # the status line has been sent
        self.gone = False  # the client has hung up
        self.extra: list[tuple[bytes, bytes]] = []  # headers that steps of the path add
        self.named = ""  # what the path names, where it names one thing
        self.version = versions.NEWEST  # of the API, as the client wants it
        self.failed: Failed = error_event  # how an error is told in a stream
        self._body: bytes | None = None
        self._work: asyncio.Task[Any] | None = None  # what is being done for it
        self._watch: asyncio.Task[None] | None = None  # for the client's hanging up
        self._ending: Exception | None = None  # why that is not to go on
        self._receive = receive
        self._send = send

    def for_another(self, receive: Receive, send: Send) -> Exchange:
        """The same request from another client: one with patience."""
        headers = [(name, value) for name, value in self.headers.items() if name != _READ_TIMEOUT]
        scope = {"method": self.method, "path": self.path, "headers": headers}
        other = Exchange(scope, receive, send)
        other._body, other.version = self._body, self.version
        return other

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the address; of several with one name, the last."""
        return dict(parse_qsl(self.query_string.decode("latin-1"), keep_blank_values=True))

    def patience(self, timeout_s: float) -> float:
        """Seconds that the client waits for a first byte, at most ``timeout_s``; the official
        client says in ``x-stainless-read-timeout`` how long it waits for any."""
        said = self.header(_READ_TIMEOUT)
        try:
            theirs = float(said) if said else 0.0
        except ValueError:
            return timeout_s
        return min(timeout_s, theirs) if theirs > 0 else timeout_s

    async def body(self, max_bytes: int) -> bytes:
        """The whole body. Raises `HttpError` 413 above ``max_bytes``, 408 when it takes too long,
        415 when it is compressed, `Cancelled` on a hang-up."""
        if self._body is not None:
            return self._body
        if self.headers.get(b"content-encoding", b"identity") != b"identity":
            raise HttpError(
                415, "unsupported_encoding", "The body is compressed.", "",
                "Send it as it is.", param="content-encoding",
            )  # fmt: skip
        announced = self.header(b"content-length")
        if announced.isdigit() and int(announced) > max_bytes:
            raise _too_large(max_bytes)
        chunks, more = await self._chunk()
        if more:
            chunks = bytearray(chunks)
            try:
                async with asyncio.timeout(BODY_WITHIN_S):
                    while more and len(chunks) <= max_bytes:
                        chunk, more = await self._chunk()
                        chunks += chunk
            except TimeoutError:
                raise HttpError(
                    408, "request_timeout", f"The body did not come within {BODY_WITHIN_S:g} s."
                ) from None
        if len(chunks) > max_bytes:
            raise _too_large(max_bytes)
        self._body = bytes(chunks)
        return self._body

    async def _chunk(self) -> tuple[bytes | bytearray, bool]:
        """Some of the body, and whether there is more. Raises `Cancelled` on a hang-up."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.gone = True
            raise Cancelled("The client hung up.")
        return message.get("body", b""), message.get("more_body", False)

    @asynccontextmanager
    async def cancelled_on_hang_up(self, within_s: float = float("inf")) -> AsyncIterator[None]:
        """Cancel the block when the client has hung up, and raise `Cancelled` from it; or the error
        that it is interrupted with; or `TimeoutError` when it is not done ``within_s``."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        work = self._work = asyncio.current_task()
        soon = loop.call_later(min(WATCHED_AFTER_S, within_s), self._begin_watch, deadline)
        try:
            yield
            if self._ending is not None:
                await asyncio.sleep(0)  # a cancellation that is on its way arrives here
        except asyncio.CancelledError:
            if self._ending is None:
                raise
            if work is not None:
                work.uncancel()
            raise self._ending from None
        finally:
            self._work = None
            soon.cancel()
            if self._watch is not None:
                self._watch.cancel()

    def interrupt(self, error: Exception) -> None:
        """Let what is being done for it end with ``error``."""
        if self._ending is None and self._work is not None:
            self._ending = error
            self._work.cancel()

    def _begin_watch(self, deadline: float) -> None:
        self._watch = asyncio.ensure_future(self._interrupt_when_gone(deadline))

    async def _interrupt_when_gone(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                while (await self._receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError as error:
            self.interrupt(error)
        else:
            self.gone = True
            self.interrupt(Cancelled("The client hung up."))

    async def reply_json(self, status: int, value: Any, headers: Headers = ()) -> None:
        await self.reply(status, msgspec.json.encode(value), [_JSON, *headers])

    async def reply(self, status: int, body: bytes, headers: Headers = ()) -> None:
        await self._start(status, [*headers, (b"content-length", str(len(body)).encode())])
        await self._send({"type": "http.response.body", "body": body})

    async def start_stream(self, failed: Failed) -> None:
        """Say that events follow; ``failed`` makes the last of them should it break off."""
        self.failed = failed
        await self._start(200, _SSE)

    async def frame(self, data: bytes) -> None:
        """Send one piece of a stream; waits while the client reads too slowly."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def last_frame(self, data: bytes) -> None:
        """Send the end of a stream."""
        await self._send({"type": "http.response.body", "body": data})

    async def _start(self, status: int, headers: Headers) -> None:
        self.started = True
        own = (b"x-request-id", self.request_id.encode())
        said = self.version.adapt([own, *headers, *self.extra])
        await self._send({"type": "http.response.start", "status": status, "headers": said})


def new_request_id() -> str:
    return "req-" + secrets.token_hex(10)


def _too_large(max_bytes: int) -> HttpError:
    return HttpError(
        413,
        "request_too_large",
        "The body is too large.",
        f"The limit is {max_bytes / 1e6:g} MB (serve.max_body_mb).",
        "Send less.",
    )
