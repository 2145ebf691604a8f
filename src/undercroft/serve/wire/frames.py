"""Answers as OpenAI objects of chat and plain completions: one JSON body, or server-sent events.

Every event of a stream has the same ``id``, ``created`` and ``model``; ``finish_reason`` is null
until the one finish event; usage comes, when asked for, in a last event with no choices; sources
ride in the last event before ``[DONE]``. An error after the headers are out is an event with an
``error``, because a stream that merely ends looks complete to every client.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, Protocol

import msgspec

from undercroft.errors import UndercroftError
from undercroft.serve.wire.failures import encode as encode_error
from undercroft.serve.wire.pieces import Piece, Token, ToolPiece, Usage

DONE = b"data: [DONE]\n\n"


class Source(msgspec.Struct, frozen=True):
    """A passage that was shown to the model, and whether the answer cites its number."""

    number: int
    document: str
    uri: str
    title: str
    span: tuple[int, int]
    cited: bool


class Envelope(Protocol):
    """How an answer is written for one API. ``choices`` are whole answers, one piece each."""

    def opening(self, num_choices: int) -> bytes:
        """The first events of a stream."""
        ...

    def piece(self, piece: Piece) -> bytes:
        """The events of what is said next."""
        ...

    def ending(
        self, choices: Sequence[Piece], usage: Usage | None, sources: Sequence[Source] | None
    ) -> bytes:
        """The last events; ``usage`` is None where the client did not ask for it."""
        ...

    def body(
        self, choices: Sequence[Piece], usage: Usage, sources: Sequence[Source] | None
    ) -> bytes:
        """The whole answer as one JSON object."""
        ...

    def failed(self, error: UndercroftError) -> bytes:
        """The last event of a stream that breaks off."""
        ...


class Completion:
    """The envelope of chat and plain completions; constant bytes of its events are made once."""

    def __init__(
        self,
        answer_id: str,
        model: str,
        kind: Literal["chat", "completion"],
        repeated: Mapping[str, Any] | None = None,
    ) -> None:
        """``repeated`` is what answers repeat of their requests."""
        self.chat = kind == "chat"
        self._offsets: dict[int, int] = {}  # of each plain completion: characters said
        self._head: dict[str, Any] = {
            "id": answer_id,
            "object": self._object(stream=False),
            "created": int(time.time()),
            "model": model,
            **(repeated or {}),
        }

    @cached_property
    def _opening(self) -> bytes:
        """How every event of the stream begins."""
        event = {**self._head, "object": self._object(stream=True)}
        return b"data: " + msgspec.json.encode(event)[:-1]

    @cached_property
    def _around(self) -> tuple[bytes, bytes]:
        """What stands before the text of an event that has nothing else, and what after it."""
        before = b'{"content":' if self.chat else b""
        after = b"}" if self.chat else b""
        name = b'"delta":' if self.chat else b'"text":'
        return (
            self._opening + b',"choices":[{"index":0,' + name + before,
            after + b',"logprobs":null,"finish_reason":null}]}\n\n',
        )

    def _object(self, stream: bool) -> str:
        if not self.chat:
            return "text_completion"
        return "chat.completion.chunk" if stream else "chat.completion"

    def opening(self, num_choices: int) -> bytes:
        """Who speaks, in each choice of a chat; a plain completion says nothing of it."""
        if not self.chat:
            return b""
        delta = {"role": "assistant", "content": ""}
        return b"".join(
            self._event([self._choice(index, {"delta": delta})]) for index in range(num_choices)
        )

    def piece(self, piece: Piece) -> bytes:
        if not (piece.index or piece.reasoning or piece.tools or piece.tokens):
            before, after = self._around
            return before + msgspec.json.encode(piece.text) + after
        if not self.chat:
            said = {"text": piece.text}
            return self._event([self._choice(piece.index, said, tokens=piece.tokens)])
        delta: dict[str, Any] = {}
        if piece.reasoning:
            delta["reasoning_content"] = piece.reasoning
        if piece.text:
            delta["content"] = piece.text
        if piece.tools:
            delta["tool_calls"] = [_fragment(part) for part in piece.tools]
        return self._event([self._choice(piece.index, {"delta": delta}, tokens=piece.tokens)])

    def ending(
        self, choices: Sequence[Piece], usage: Usage | None, sources: Sequence[Source] | None
    ) -> bytes:
        """The finish event of each choice, the usage event if it is given, and ``[DONE]``."""
        empty: dict[str, Any] = {"delta": {}} if self.chat else {"text": ""}
        ends = [[self._choice(each.index, empty, each.finish_reason)] for each in choices]
        if usage is not None:
            ends.append([])
        events = [self._event(end) for end in ends[:-1]]
        extra: dict[str, Any] = {} if usage is None else {"usage": usage}
        if sources is not None:
            extra["sources"] = sources
        return b"".join([*events, self._event(ends[-1], **extra), DONE])

    def body(
        self, choices: Sequence[Piece], usage: Usage, sources: Sequence[Source] | None
    ) -> bytes:
        said = [
            self._choice(each.index, self._whole(each), each.finish_reason, each.tokens)
            for each in choices
        ]
        whole = {**self._head, "choices": said, "usage": usage}
        if sources is not None:
            whole["sources"] = sources
        return msgspec.json.encode(whole)

    def failed(self, error: UndercroftError) -> bytes:
        return error_event(error)

    def _whole(self, choice: Piece) -> dict[str, Any]:
        if not self.chat:
            return {"text": choice.text}
        text = choice.text if choice.text or not choice.tools else None
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if choice.reasoning:
            message["reasoning_content"] = choice.reasoning
        if choice.tools:
            message["tool_calls"] = [_call(part) for part in choice.tools]
        return {"message": message}

    def _choice(
        self,
        index: int,
        said: dict[str, Any],
        finish_reason: str | None = None,
        tokens: Sequence[Token] | None = None,
    ) -> dict[str, Any]:
        logprobs: dict[str, Any] | None = None
        if tokens and self.chat:
            logprobs = {"content": tokens, "refusal": None}
        elif tokens:
            logprobs, self._offsets[index] = _columns(tokens, self._offsets.get(index, 0))
        return {"index": index, **said, "logprobs": logprobs, "finish_reason": finish_reason}

    def _event(self, choices: list[dict[str, Any]], **extra: Any) -> bytes:
        rest = msgspec.json.encode({"choices": choices, **extra})
        return self._opening + b"," + rest[1:] + b"\n\n"


def _columns(tokens: Sequence[Token], offset: int) -> tuple[dict[str, Any], int]:
    """Tokens as plain completions have them, the first at ``offset`` of the text; where they end"""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.token)
    columns = {
        "tokens": [token.token for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [
            {each.token: each.logprob for each in token.top_logprobs} for token in tokens
        ],
        "text_offset": offsets,
    }
    return columns, offset


def _call(part: ToolPiece) -> dict[str, Any]:
    function = {"name": part.name, "arguments": part.arguments}
    return {"id": part.id, "type": "function", "function": function}


def _fragment(part: ToolPiece) -> dict[str, Any]:
    if part.id:
        return {"index": part.index, **_call(part)}
    return {"index": part.index, "function": {"arguments": part.arguments}}


def error_event(error: UndercroftError) -> bytes:
    """The in-band error of a stream that had begun; no ``[DONE]`` follows an error."""
    return b"data: " + encode_error(error) + b"\n\n"
