"""A model server that costs almost nothing.

    python -m benchmarks.upstream PORT [GAP_MS [CHUNKS]]

It answers every POST with a fixed chat completion, or, when the body asks for a stream, with
`NUM_CHUNKS` events `GAP_S` apart. What a gateway adds then shows undiluted. The events of a stream
are due at fixed times from its beginning, so that lateness does not add up.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import ClassVar, cast

NUM_CHUNKS = 32
GAP_S = 0.005

_USAGE = {"prompt_tokens": 20, "completion_tokens": 32, "total_tokens": 52}
_TEXT = (
    "The river rises in the hills and runs down to the sea, slowly and then faster, as rivers do."
)


def _head(kind: bytes, rest: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: " + kind + b"\r\n" + rest + b"\r\n\r\n"


def _event(choices: list[object], **extra: object) -> bytes:
    whole = {
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "bench",
        "choices": choices, **extra,
    }  # fmt: skip
    return _chunk(b"data: " + json.dumps(whole).encode() + b"\n\n")


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _choice(delta: dict[str, str], reason: str | None = None) -> list[object]:
    return [{"index": 0, "delta": delta, "finish_reason": reason}]


_BODY = json.dumps(
    {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "bench",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": _TEXT},
                     "finish_reason": "stop"}],
        "usage": _USAGE,
    }
).encode()  # fmt: skip
_WHOLE = _head(b"application/json", f"content-length: {len(_BODY)}".encode()) + _BODY
_OPENING = _head(b"text/event-stream", b"transfer-encoding: chunked") + _event(
    _choice({"role": "assistant", "content": ""})
)
_PIECE = _event(_choice({"content": " word"}))
_ENDING = (
    _event(_choice({}, "stop")) + _event([], usage=_USAGE) + _chunk(b"data: [DONE]\n\n")
    + b"0\r\n\r\n"
)  # fmt: skip


class Upstream(asyncio.Protocol):
    """One keep-alive connection."""

    gap_s: ClassVar[float] = GAP_S
    num_chunks: ClassVar[int] = NUM_CHUNKS

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while True:
            head, separator, rest = self._received.partition(b"\r\n\r\n")
            if not separator:
                return
            length = _content_length(head)
            if len(rest) < length:
                return
            body, self._received = rest[:length], rest[length:]
            if b'"stream":true' in body.replace(b" ", b""):
                self._began = asyncio.get_running_loop().time()
                self._stream(0)
            else:
                self._transport.write(_WHOLE)

    def _stream(self, sent: int) -> None:
        if self._transport.is_closing():
            return
        if sent == 0:
            self._transport.write(_OPENING)
        if sent < self.num_chunks:
            self._transport.write(_PIECE)
            due = self._began + (sent + 1) * self.gap_s
            asyncio.get_running_loop().call_at(due, self._stream, sent + 1)
        else:
            self._transport.write(_ENDING)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def main(port: int, gap_s: float = GAP_S, num_chunks: int = NUM_CHUNKS) -> None:
    """Serve on ``port`` until the process ends."""
    Upstream.gap_s, Upstream.num_chunks = gap_s, num_chunks
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    port, gap_ms, chunks = [*sys.argv[1:], *("", "")][:3]
    uvloop.run(
        main(
            int(port),
            float(gap_ms) / 1000 if gap_ms else GAP_S,
            int(chunks) if chunks else NUM_CHUNKS,
        )
    )
