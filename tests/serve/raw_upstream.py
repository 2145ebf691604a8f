"""An engine that says exactly the bytes it is told to, and then hangs up, breaks off, or hangs.

The last message of a request is JSON that says what to do: ``{"say": NAME, "upto": BYTES, "then":
"close" | "reset" | "hang"}``. What can be said is in `SAYINGS`.
"""

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

TEXT = "It is só."
_PIECES = ("It ", "is ", "só", ".")
_USAGE = {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}


def _event(choices: list[Any], **extra: Any) -> bytes:
    return b"data: " + json.dumps({"choices": choices, **extra}, ensure_ascii=False).encode()


def _delta(delta: dict[str, Any], reason: str | None = None) -> list[Any]:
    return [{"index": 0, "delta": delta, "finish_reason": reason}]


EVENTS = [
    _event(_delta({"role": "assistant", "content": ""})),
    *(_event(_delta({"content": piece})) for piece in _PIECES),
    _event(_delta({}, "stop")),
    _event([], usage=_USAGE),
    b"data: [DONE]",
]
_SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
_JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
_BODY = json.dumps(
    {"choices": [{"index": 0, "message": {"content": TEXT}, "finish_reason": "stop"}],
     "usage": _USAGE}
).encode()  # fmt: skip


def _chunked(events: list[bytes]) -> bytes:
    said = [event + b"\n\n" for event in events]
    return b"".join(f"{len(each):x}\r\n".encode() + each + b"\r\n" for each in said)


def _sized(body: bytes, size: int | None = None) -> bytes:
    return _JSON + f"content-length: {len(body) if size is None else size}\r\n\r\n".encode() + body


STREAM = _SSE + b"transfer-encoding: chunked\r\n\r\n" + _chunked(EVENTS) + b"0\r\n\r\n"
UNSIZED = _SSE + b"connection: close\r\n\r\n" + b"".join(event + b"\r\n\r\n" for event in EVENTS)
WHOLE = _sized(_BODY)

SAYINGS: dict[str, bytes] = {
    "stream": STREAM,
    "unsized": UNSIZED,
    "whole": WHOLE,
    "too short": _sized(_BODY, len(_BODY) - 20),
    "too long": _sized(_BODY, len(_BODY) + 20),
    "minus one": _sized(_BODY, -1),
    "two answers": _sized(b'{"choices": []}') + _sized(_BODY.replace(b"It is", b"EVIL!")),
    "not http": b"\x00\x01\x02 how do you do\r\n\r\n",
    "elsewhere": b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n",
    "not utf-8": _SSE + b"connection: close\r\n\r\n" + EVENTS[1].replace(b"It", b"\xff\xfe"),
    "half a pair": _sized(_BODY.replace(b"It is", rb"\ud83d")),
    "deep": _SSE + b"connection: close\r\n\r\ndata: " + b"[" * 200_000 + b"\n\n",
    "not json": _SSE + b"connection: close\r\n\r\ndata: {]\n\n",
    "a number": _sized(b"42"),
    "compressed": _JSON + b"content-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\x00",
    "empty": _sized(b""),
    "no way on": _SSE
    + b'connection: close\r\n\r\ndata: {"error": {"code": 500, "message": "got exception: '
    + b'Unexpected empty grammar stack after accepting piece"}}\n\n',
    "nothing": b"",
}
FLOODS: dict[str, tuple[bytes, bytes]] = {  # how it begins, and what follows without an end
    "no end of a line": (_SSE + b"connection: close\r\n\r\ndata: ", b"a" * 65536),
    "no end of a body": (_JSON + b"connection: close\r\n\r\n{", b" " * 65536),
    "no end of data": (_SSE + b"connection: close\r\n\r\n", b"data: a\n" * 8192),
    "no end of headers": (b"HTTP/1.1 200 OK\r\n", b"x-a: b\r\n" * 8192),
    "no end of comments": (_SSE + b"connection: close\r\n\r\n", b": wait\n\n" * 8192),
}


class Raw:
    """The server's address, and how often it was sent somewhere else than it should be."""

    url = ""
    elsewhere = 0
    once = False  # a connection answers one request, and hangs up at the next

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answered = False
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if self.once and answered:
                    break
                answered = True
                if b"/elsewhere" in head:
                    self.elsewhere += 1
                length = int(head.lower().partition(b"content-length:")[2].split()[0])
                asked = json.loads(await reader.readexactly(length))
                told = json.loads(asked["messages"][-1]["content"])
                await self._obey(told, reader, writer)
                if told.get("then", "go on") != "go on":
                    break
        writer.close()

    async def _obey(
        self, told: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if told["say"] in FLOODS:
            begin, more = FLOODS[told["say"]]
            writer.write(begin)
            while True:
                writer.write(more)
                await writer.drain()
        writer.write(SAYINGS[told["say"]][: told.get("upto")])
        if told.get("then") == "hang":
            await reader.read()  # until the other side gives up
        elif told.get("then") == "reset":
            await asyncio.sleep(0.001)  # what was said has to arrive first
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


@contextmanager
def running() -> Iterator[Raw]:
    """The server on a free port, in a thread, until the block ends."""
    raw, ready, loop = Raw(), threading.Event(), asyncio.new_event_loop()

    async def start() -> None:
        server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
        raw.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()

    def work() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait(5)
    try:
        yield raw
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
