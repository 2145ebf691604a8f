"""An answer as a response object, or as the events in which one comes about.

The order of events is that of openai-python 3 and the Open Responses cases: a response is created
and in progress; each item is added, filled by deltas, and done; the response is completed. Items
are closed together at the end, when the screens have let go of what they held back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from undercroft.errors import UndercroftError
from undercroft.serve.wire.failures import of_response
from undercroft.serve.wire.frames import Source
from undercroft.serve.wire.pieces import Piece, Token, ToolPiece, Usage

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
_CUT_SHORT = {"length": "max_output_tokens", "content_filter": "content_filter"}
_PREFIXES = {"message": "msg_", "reasoning": "rs_", "function_call": "fc_"}


class Response:
    """The envelope of one response. ``echo`` is what it repeats of its request."""

    def __init__(self, response_id: str, model: str, echo: dict[str, Any]) -> None:
        self._own = response_id.partition("_")[2]
        self._head = {"id": response_id, "object": "response", "created_at": int(time.time())}
        self._model = model
        self._echo = echo
        self._number = 0  # of the next event
        self._places: dict[str, int] = {}  # item by kind (and number of a call) -> output index
        self._ids: dict[str, str] = {}  # of items; each has its response's in it

    # A stream

    def opening(self, num_choices: int) -> bytes:  # noqa: ARG002 there is one
        begun = self.object("in_progress")
        return b"".join(
            self._event(f"response.{name}", response=begun) for name in ("created", "in_progress")
        )

    def piece(self, piece: Piece) -> bytes:
        return b"".join(self._events(piece))

    def _events(self, piece: Piece) -> Iterator[bytes]:
        if piece.reasoning:
            yield from self._begin("reasoning")
            yield self._on(
                "reasoning", "response.reasoning_text.delta", content_index=0, delta=piece.reasoning
            )
        if piece.text:
            yield from self._begin("message")
            yield self._on(
                "message", "response.output_text.delta", content_index=0, delta=piece.text,
                logprobs=piece.tokens or [],
            )  # fmt: skip
        for part in piece.tools or ():
            key = f"function_call {part.index}"
            if part.id:
                yield from self._begin(key, part)
            if part.arguments:
                yield self._on(key, "response.function_call_arguments.delta", delta=part.arguments)

    def _begin(self, key: str, call: ToolPiece | None = None) -> Iterator[bytes]:
        if key in self._places:
            return
        self._places[key] = len(self._places)
        kind = key.partition(" ")[0]
        item = _empty(kind, self._id(key), call)
        yield self._event("response.output_item.added", output_index=self._places[key], item=item)
        if kind == "message":
            yield self._on(
                key, "response.content_part.added", content_index=0, part=_text_part("", None)
            )

    def ending(
        self,
        choices: Sequence[Piece],
        usage: Usage | None,
        sources: Sequence[Source] | None,
    ) -> bytes:
        events = [] if self._places else [*self._begin("message")]  # nothing was said
        whole = self.whole(choices, usage or Usage(), sources)
        for key, place in self._places.items():
            events += self._done(key, whole["output"][place])
        events.append(self._event(f"response.{whole['status']}", response=whole))
        return b"".join(events)

    def _done(self, key: str, item: dict[str, Any]) -> Iterator[bytes]:
        if item["type"] == "message":
            part = item["content"][0]
            yield self._on(
                key, "response.output_text.done", content_index=0, text=part["text"],
                logprobs=part["logprobs"],
            )  # fmt: skip
            yield self._on(key, "response.content_part.done", content_index=0, part=part)
        elif item["type"] == "reasoning":
            text = item["content"][0]["text"]
            yield self._on(key, "response.reasoning_text.done", content_index=0, text=text)
        else:
            yield self._on(
                key, "response.function_call_arguments.done", name=item["name"],
                arguments=item["arguments"],
            )  # fmt: skip
        yield self._event("response.output_item.done", output_index=self._places[key], item=item)

    def failed(self, error: UndercroftError) -> bytes:
        return self._event("response.failed", response=self.failure(error))

    def again(self, response: dict[str, Any]) -> list[bytes]:
        """The events in which a finished ``response`` might have come about, each text whole."""
        begun = response | {"status": "in_progress", "output": [], "usage": None, "error": None}
        events = [
            self._event(f"response.{name}", response=begun) for name in ("created", "in_progress")
        ]
        for place, item in enumerate(response["output"]):
            key = f"{item['type']} {place}"
            self._ids[key], call = item["id"], None
            if item["type"] == "function_call":
                call = ToolPiece(place, item["call_id"], item["name"])
            events += self._begin(key, call)
            events += self._said(key, item)
            events += self._done(key, item)
        kind = response["status"]
        kind = kind if kind in ("completed", "incomplete") else "failed"
        return [*events, self._event(f"response.{kind}", response=response)]

    def _said(self, key: str, item: dict[str, Any]) -> Iterator[bytes]:
        if item["type"] == "message":
            part = item["content"][0]
            yield self._on(
                key, "response.output_text.delta", content_index=0, delta=part["text"],
                logprobs=part["logprobs"],
            )  # fmt: skip
        elif item["type"] == "reasoning":
            text = item["content"][0]["text"]
            yield self._on(key, "response.reasoning_text.delta", content_index=0, delta=text)
        else:
            delta = item["arguments"]
            yield self._on(key, "response.function_call_arguments.delta", delta=delta)

    # Objects

    def body(
        self, choices: Sequence[Piece], usage: Usage, sources: Sequence[Source] | None
    ) -> bytes:
        return msgspec.json.encode(self.whole(choices, usage, sources))

    def whole(
        self, choices: Sequence[Piece], usage: Usage, sources: Sequence[Source] | None
    ) -> dict[str, Any]:
        """The finished response, as plain values."""
        choice = choices[0]
        reason = _CUT_SHORT.get(choice.finish_reason or "")
        response = self.object("incomplete" if reason else "completed", self._output(choice))
        response["incomplete_details"] = {"reason": reason} if reason else None
        response["completed_at"] = None if reason else int(time.time())
        response["usage"] = {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {
                "cached_tokens": usage.cached_tokens,
                "cache_write_tokens": 0,
            },
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
            "total_tokens": usage.total_tokens,
        }
        if sources is not None:
            response["sources"] = sources
        return response

    def failure(self, error: UndercroftError) -> dict[str, Any]:
        """The response that says why there is none."""
        return {
            **self.object("failed"),
            "error": of_response(error),
        }

    def object(self, status: Status, output: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        return {
            **self._head,
            "status": status,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "model": self._model,
            "output": list(output),
            "usage": None,
            **self._echo,
        }

    def _output(self, choice: Piece) -> list[dict[str, Any]]:
        """The items of an answer, in the order in which a stream began them."""
        status = (
            "incomplete" if choice.finish_reason in ("length", "content_filter") else "completed"
        )
        items: dict[str, dict[str, Any]] = {}
        if choice.reasoning:
            content = [{"type": "reasoning_text", "text": choice.reasoning}]
            items["reasoning"] = _reasoning(self._id("reasoning"), content, status)
        if choice.text or not choice.tools:
            part = _text_part(choice.text, choice.tokens)
            items["message"] = _message(self._id("message"), [part], status)
        for call in choice.tools or ():
            key = f"function_call {call.index}"
            items[key] = _call(self._id(key), call, status, call.arguments)
        order = sorted(items, key=lambda key: self._places.get(key, len(self._places)))
        return [items[key] for key in order]

    def _id(self, key: str) -> str:
        if key not in self._ids:
            self._ids[key] = f"{_PREFIXES[key.partition(' ')[0]]}{self._own}{len(self._ids):x}"
        return self._ids[key]

    def _on(self, key: str, kind: str, **fields: Any) -> bytes:
        """An event about a part of an item."""
        return self._event(kind, item_id=self._id(key), output_index=self._places[key], **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        data = msgspec.json.encode({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def _empty(kind: str, item_id: str, call: ToolPiece | None) -> dict[str, Any]:
    """An item that nothing was said of yet."""
    if kind == "message":
        return _message(item_id, [], "in_progress")
    if call is not None:
        return _call(item_id, call, "in_progress", "")
    return _reasoning(item_id, [], "in_progress")


def _reasoning(item_id: str, content: list[dict[str, Any]], status: str) -> dict[str, Any]:
    return {
        "id": item_id, "type": "reasoning", "status": status, "summary": [], "content": content
    }  # fmt: skip


def _text_part(text: str, tokens: Sequence[Token] | None) -> dict[str, Any]:
    logprobs = [_with_bytes(token) for token in tokens or ()]
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _with_bytes(token: Token) -> dict[str, Any]:
    """``token`` with all its bytes, which chats may leave out and responses may not."""
    whole: dict[str, Any] = msgspec.to_builtins(token)
    for each in (whole, *whole["top_logprobs"]):
        if each["bytes"] is None:
            each["bytes"] = list(each["token"].encode())
    return whole


def _message(item_id: str, content: list[dict[str, Any]], status: str) -> dict[str, Any]:
    return {
        "id": item_id, "type": "message", "status": status, "role": "assistant", "content": content
    }  # fmt: skip


def _call(item_id: str, call: ToolPiece, status: str, arguments: str) -> dict[str, Any]:
    return {
        "id": item_id, "type": "function_call", "status": status, "call_id": call.id,
        "name": call.name, "arguments": arguments,
    }  # fmt: skip
