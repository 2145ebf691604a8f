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
from undercroft.serve.wire.failures import HttpError
from undercroft.serve.wire.pieces import Alternative, Piece, Token, ToolPiece, Usage, new_call_id

CONNECT_TIMEOUT_S = 2.0
NOT_THERE = (404, 405, 501)  # of an endpoint that is optional: no sign that the engine is broken
PATHS = {"chat": "/v1/chat/completions", "completion": "/v1/completions"}

LONGEST_EVENT = 8_000_000  # bytes; an engine that sends more without an end has gone mad
LONGEST_ANSWER = 64_000_000
REASONS = ("stop", "length", "tool_calls", "content_filter")


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Said(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Logprobs(msgspec.Struct):
    """As chats have them, or in the columns of plain completions."""

    content: list[Token] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None

    def read(self) -> list[Token] | None:
        if self.content is not None or not self.tokens:
            return self.content
        nothing = [None] * len(self.tokens)
        columns = self.tokens, self.token_logprobs or nothing, self.top_logprobs or nothing
        return [
            Token(token, logprob or 0.0, None, [Alternative(*each) for each in (top or {}).items()])
            for token, logprob, top in zip(*columns, strict=False)
        ]


class _Choice(msgspec.Struct):
    delta: _Said | None = None
    message: _Said | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Reply(msgspec.Struct):
    choices: list[_Choice] = []
    usage: Usage | None = None
    error: Any = None


_reply = msgspec.json.Decoder(_Reply)


def session(keeps: bool = True) -> aiohttp.ClientSession:
    """A client of engines; its connections are kept and used again, if it ``keeps`` them."""
    connector = (
        aiohttp.TCPConnector(limit=0, keepalive_timeout=60.0)
        if keeps
        else aiohttp.TCPConnector(limit=0, force_close=True)
    )
    return aiohttp.ClientSession(
        connector=connector,
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
        async with client.post(url, data=body, headers=sent, allow_redirects=False) as response:
            try:
                if response.status in NOT_THERE and url.endswith(PATHS["completion"]):
                    raise HttpError(
                        400, "unsupported", "The model takes chats, and no plain completions.",
                        f"Its engine answered {response.status}.", "Ask /v1/chat/completions.",
                    )  # fmt: skip
                if response.status != 200:
                    raise _refused(response.status, await _read(response), response.headers)
                if payload.get("stream"):
                    async for piece in _streamed(response.content):
                        yield piece
                else:
                    yield _whole(await _read(response))
            finally:
                if not response.content.at_eof():
                    response.close()  # unread: hang up, so that the engine stops at once
    except (aiohttp.ClientError, ConnectionError) as error:
        raise EngineFailed("The engine hung up.", f"{type(error).__name__}.") from error


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The whole body. Raises `EngineFailed` for one that does not end."""
    blocks, size = [], 0
    async for block in response.content.iter_any():
        blocks.append(block)
        size += len(block)
        if size > LONGEST_ANSWER:
            raise EngineFailed("The engine answered nonsense.", "Its answer has no end.")
    return b"".join(blocks)


def _whole(body: bytes) -> Piece:
    reply = _decode(body)
    if not reply.choices:
        raise EngineFailed("The engine answered nothing.")
    piece = _piece(reply.choices[0], _Calls())
    piece.finish_reason, piece.usage = piece.finish_reason or "stop", reply.usage
    return piece


class _Calls:
    """The calls of tools in one answer, numbered from 0 without gaps, whose first fragment has id
    and name, however the engine sends them."""

    def __init__(self) -> None:
        self._numbers: dict[int | str, int] = {}
        self._nameless: dict[int | str, str] = {}  # arguments that came before the name

    def read(self, calls: list[_Call]) -> list[ToolPiece]:
        return [piece for at, call in enumerate(calls) if (piece := self._one(at, call))]

    def _one(self, at: int, call: _Call) -> ToolPiece | None:
        key = call.index if call.index is not None else call.id or at
        function = call.function or _Function()
        said = function.arguments
        arguments = said if isinstance(said, str) else msgspec.json.encode(said or {}).decode()
        arguments = "" if said is None else arguments
        if key in self._numbers:
            return ToolPiece(self._numbers[key], arguments=arguments)
        if not function.name:
            self._nameless[key] = self._nameless.get(key, "") + arguments
            return None
        number = self._numbers[key] = len(self._numbers)
        before = self._nameless.pop(key, "")
        return ToolPiece(number, call.id or new_call_id(), function.name, before + arguments)

    def __bool__(self) -> bool:
        return bool(self._numbers)


def _piece(choice: _Choice, calls: _Calls) -> Piece:
    said = choice.delta or choice.message
    if said is None:
        piece = Piece(choice.text or "")
    else:
        piece = Piece(said.content or said.refusal or "")
        if said.reasoning_content:
            piece.reasoning = said.reasoning_content
        if said.tool_calls:
            piece.tools = calls.read(said.tool_calls) or None
    if choice.logprobs is not None:
        piece.tokens = choice.logprobs.read()
    if choice.finish_reason:
        reason = choice.finish_reason if choice.finish_reason in REASONS else "stop"
        piece.finish_reason = "tool_calls" if calls and reason == "stop" else reason
    return piece


async def _streamed(content: aiohttp.StreamReader) -> AsyncGenerator[Piece, None]:
    finished, calls = False, _Calls()
    async for data in events(content):
        if data == b"[DONE]":
            break
        reply = _decode(data)
        for choice in reply.choices[:1]:
            piece = _piece(choice, calls)
            finished = finished or piece.finish_reason is not None
            if piece.says or piece.finish_reason:
                yield piece
        if reply.usage is not None:
            yield Piece(usage=reply.usage)
    if not finished:
        raise EngineFailed("The engine stopped in the middle of its answer.")


async def events(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The ``data`` of each server-sent event, whatever its line endings and however TCP cut it."""
    rest = b""
    data: list[bytes] = []
    size = whole = 0
    async for block in content.iter_any():
        *lines, rest = (rest + block).split(b"\n")
        size += len(block)
        whole += len(block)
        if size > LONGEST_EVENT or whole > LONGEST_ANSWER:
            raise EngineFailed("The engine answered nonsense.", "What it says has no end.")
        for raw in lines:
            line = raw.rstrip(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                yield b"\n".join(data)
                data.clear()
            if not line:
                size = len(rest)
    if data:
        yield b"\n".join(data)


def _decode(data: bytes) -> _Reply:
    try:
        reply = _reply.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EngineFailed("The engine answered nonsense.", f"{error}.") from None
    if reply.error:
        raise _reported(_message_of(reply.error))
    return reply


def _reported(message: str) -> UndercroftError:
    """The error that an engine tells in its answer. A grammar is what the client's schema became:
    one that leads nowhere is no fault of the engine, and must not look like one."""
    if "grammar" in message.lower():
        return HttpError(
            400, "invalid_request", "The schema cannot be kept to.", message, "Allow more.",
            param="response_format",
        )  # fmt: skip
    return EngineFailed("The engine reported an error.", message)


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
    if status == 500 and "grammar" in message:
        return _reported(message)
    return EngineFailed("The engine refused.", message)


def _message_of(error: Any) -> str:
    if isinstance(error, dict):
        return str(error.get("message", ""))[:500]
    return str(error)[:500] if error else ""
