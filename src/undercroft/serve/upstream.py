"""One call to an engine over HTTP -> pieces of text as they come.

Every engine speaks the OpenAI API (llama.cpp, vLLM, a remote service), so this is the only reader
of engine replies. Whatever goes wrong is an `EngineFailed`, except what the request itself is to
blame for (`HttpError` 400). Leaving the iterator early closes the connection, which stops
llama.cpp.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

import aiohttp
import msgspec

from undercroft.errors import EngineFailed, Overloaded, UndercroftError
from undercroft.serve.failures import HttpError
from undercroft.serve.frames import Usage

CONNECT_TIMEOUT_S = 2.0
PATHS = {"chat": "/v1/chat/completions", "completion": "/v1/completions"}


class Piece(msgspec.Struct):
    """Some text of an answer; the last ones carry ``finish_reason`` and ``usage``."""

    text: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None


class _Said(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Said | None = None
    message: _Said | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Reply(msgspec.Struct):
    choices: list[_Choice] = []
    usage: Usage | None = None
    error: Any = None


_reply = msgspec.json.Decoder(_Reply)


def session() -> aiohttp.ClientSession:
    """The one client session of the gateway; connections to engines are kept and reused."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60.0),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept-Encoding"),
    )


async def pieces(
    client: aiohttp.ClientSession,
    url: str,
    payload: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
) -> AsyncGenerator[Piece, None]:
    """POST ``payload`` to the engine at ``url`` and yield its answer.

    With ``payload["stream"]`` a piece for each event, otherwise one piece. The last piece that has
    a ``finish_reason`` is always there: an engine that stops without one has failed.
    """
    body = msgspec.json.encode(payload)
    sent = {"content-type": "application/json", **(headers or {})}
    try:
        async with client.post(url, data=body, headers=sent) as response:
            try:
                if response.status != 200:
                    raise _refused(response.status, await response.read(), response.headers)
                if payload.get("stream"):
                    async for piece in _streamed(response.content):
                        yield piece
                else:
                    yield _whole(await response.read())
            finally:
                if not response.content.at_eof():
                    response.close()  # unread: hang up, so that the engine stops at once
    except (aiohttp.ClientError, ConnectionError) as error:
        raise EngineFailed("The engine hung up.", f"{type(error).__name__}.") from error


def _whole(body: bytes) -> Piece:
    reply = _decode(body)
    if not reply.choices:
        raise EngineFailed("The engine answered nothing.")
    choice = reply.choices[0]
    said = choice.message.content if choice.message is not None else choice.text
    return Piece(said or "", choice.finish_reason or "stop", reply.usage)


async def _streamed(content: aiohttp.StreamReader) -> AsyncGenerator[Piece, None]:
    finished = False
    async for data in events(content):
        if data == b"[DONE]":
            break
        reply = _decode(data)
        for choice in reply.choices[:1]:
            said = choice.delta.content if choice.delta is not None else choice.text
            finished = finished or bool(choice.finish_reason)
            if said or choice.finish_reason:
                yield Piece(said or "", choice.finish_reason or None)
        if reply.usage is not None:
            yield Piece(usage=reply.usage)
    if not finished:
        raise EngineFailed("The engine stopped in the middle of its answer.")


async def events(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The ``data`` of each server-sent event, whatever its line endings and however TCP cut it."""
    rest = b""
    data: list[bytes] = []
    async for block in content.iter_any():
        *lines, rest = (rest + block).split(b"\n")
        for raw in lines:
            line = raw.rstrip(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                yield b"\n".join(data)
                data.clear()
    if data:
        yield b"\n".join(data)


def _decode(data: bytes) -> _Reply:
    try:
        reply = _reply.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EngineFailed("The engine answered nonsense.", f"{error}.") from None
    if reply.error:
        raise EngineFailed("The engine reported an error.", _message_of(reply.error))
    return reply


def _refused(status: int, body: bytes, headers: Mapping[str, str]) -> UndercroftError:
    try:
        error = _reply.decode(body).error or {}
    except (msgspec.DecodeError, UnicodeDecodeError):
        error = {}
    message = _message_of(error) or f"It answered {status}."
    kind = error.get("type") if isinstance(error, dict) else None
    if kind == "exceed_context_size_error":
        return HttpError(
            400,
            "context_length_exceeded",
            "The request is longer than the model's context.",
            f"It has {error.get('n_prompt_tokens')} tokens of {error.get('n_ctx')}.",
            "Send less.",
            param="messages",
        )
    if status == 429:
        after = headers.get("retry-after", "")
        seconds = float(after) if after.replace(".", "", 1).isdigit() else 1.0
        return Overloaded("The engine is overloaded.", message, retry_after_s=seconds)
    if status in (400, 413, 422):
        return HttpError(400, "invalid_request", "The engine cannot use the request.", message)
    return EngineFailed("The engine refused.", message)


def _message_of(error: Any) -> str:
    if isinstance(error, dict):
        return str(error.get("message", ""))[:500]
    return str(error)[:500] if error else ""
