"""Answers as OpenAI objects: one JSON body, or server-sent events.

Every event of a stream has the same ``id``, ``created`` and ``model``; ``finish_reason`` is null
until the one finish event; usage comes, when asked for, in a last event with no choices; sources
ride in the last event before ``[DONE]``. An error after the headers are out is an event with an
``error``, because a stream that merely ends looks complete to every client.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from undercroft.errors import UndercroftError
from undercroft.serve.failures import encode as encode_error

DONE = b"data: [DONE]\n\n"


class Usage(msgspec.Struct):
    """Tokens of one answer, in the engine's own counting."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class Source(msgspec.Struct, frozen=True):
    """A passage that was shown to the model, and whether the answer cites its number."""

    number: int
    document: str
    uri: str
    title: str
    span: tuple[int, int]
    cited: bool


class Envelope:
    """What all parts of one answer share, with the constant bytes of its events made once."""

    def __init__(self, answer_id: str, model: str, kind: Literal["chat", "completion"]) -> None:
        self.chat = kind == "chat"
        self._head: dict[str, Any] = {
            "id": answer_id,
            "object": self._object(stream=False),
            "created": int(time.time()),
            "model": model,
        }
        event = {**self._head, "object": self._object(stream=True)}
        self._opening = b"data: " + msgspec.json.encode(event)[:-1]
        self._before = self._opening + (
            b',"choices":[{"index":0,"delta":{"content":'
            if self.chat
            else b',"choices":[{"index":0,"text":'
        )
        self._after = (b"}" if self.chat else b"") + b',"logprobs":null,"finish_reason":null}]}\n\n'

    def _object(self, stream: bool) -> str:
        if not self.chat:
            return "text_completion"
        return "chat.completion.chunk" if stream else "chat.completion"

    def role(self) -> bytes:
        """The first event of a chat; a plain completion has none."""
        if not self.chat:
            return b""
        return self._event(
            [
                {
                    "index": 0,
                    "delta": {"role": "assistant", "content": ""},
                    "logprobs": None,
                    "finish_reason": None,
                }
            ]
        )

    def text(self, piece: str) -> bytes:
        return self._before + msgspec.json.encode(piece) + self._after

    def ending(
        self, finish_reason: str, usage: Usage | None, sources: Sequence[Source] | None
    ) -> bytes:
        """The finish event, the usage event if ``usage`` is given, and ``[DONE]``."""
        empty: dict[str, Any] = {"delta": {}} if self.chat else {"text": ""}
        finish = [{"index": 0, **empty, "logprobs": None, "finish_reason": finish_reason}]
        extra = {} if sources is None else {"sources": sources}
        if usage is None:
            return self._event(finish, **extra) + DONE
        return self._event(finish) + self._event([], usage=usage, **extra) + DONE

    def body(
        self, text: str, finish_reason: str, usage: Usage, sources: Sequence[Source] | None
    ) -> bytes:
        """The whole answer as one JSON object."""
        said: dict[str, Any] = (
            {"message": {"role": "assistant", "content": text, "refusal": None}}
            if self.chat
            else {"text": text}
        )
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": finish_reason}
        whole = {**self._head, "choices": [choice], "usage": usage}
        if sources is not None:
            whole["sources"] = sources
        return msgspec.json.encode(whole)

    def _event(self, choices: list[dict[str, Any]], **extra: Any) -> bytes:
        rest = msgspec.json.encode({"choices": choices, **extra})
        return self._opening + b"," + rest[1:] + b"\n\n"


def error_event(error: UndercroftError) -> bytes:
    """The in-band error of a stream that had begun; no ``[DONE]`` follows an error."""
    return b"data: " + encode_error(error) + b"\n\n"
