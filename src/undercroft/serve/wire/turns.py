"""The messages of a conversation, checked, as the turns that the path works on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from undercroft.serve.wire import media as parts_
from undercroft.serve.wire.bodies import Message, Part, ToolCall
from undercroft.serve.wire.failures import invalid

MAX_MESSAGES = 2_048  # as in OpenAI's API; 20,000 took a template 40 s on a busy machine


class Turn(msgspec.Struct, frozen=True):
    """One message of a conversation: its text, and what else engines get with it (``more``): the
    parts that are not text, calls of tools, the call that it answers."""

    role: str
    content: str
    more: dict[str, Any] = {}

    def message(self) -> dict[str, Any]:
        """As engines take it."""
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": self.content, **self.more}


def read(messages: Sequence[Message]) -> tuple[Turn, ...]:
    """The turns of ``messages``. Raises `HttpError` 400 that names the message at fault."""
    if len(messages) > MAX_MESSAGES:
        raise invalid("messages", f"{len(messages):,} messages are more than {MAX_MESSAGES:,}.")
    turns: list[Turn] = []
    called: set[str] = set()
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        more: dict[str, Any] = {}
        if message.tool_calls:
            more["tool_calls"] = _calls(message, where)
            called.update(call.id for call in message.tool_calls)
        if message.role == "tool":
            if message.tool_call_id not in called:
                raise invalid(f"{where}.tool_call_id", "It names no call of a message before it.")
            more["tool_call_id"] = message.tool_call_id
        turns.append(_turn(message, more, f"{where}.content"))
    if not turns:
        raise invalid("messages", "There is none.")
    return tuple(turns)


def ask(turns: Sequence[Turn]) -> bool:
    """Whether ``turns`` come to a question: the user speaks last, but for instructions."""
    spoken = [turn.role for turn in turns if turn.role not in ("system", "developer")]
    return bool(spoken) and spoken[-1] == "user"


def media(turns: Sequence[Turn]) -> frozenset[str]:
    """What ``turns`` hold besides text: ``image``, ``audio``."""
    return frozenset(
        parts_.KINDS[part["type"]]
        for turn in turns
        for part in turn.more.get("content", ())
        if part["type"] in parts_.KINDS
    )


def _turn(message: Message, more: dict[str, Any], where: str) -> Turn:
    if message.content is None or isinstance(message.content, str):
        return Turn(message.role, message.content or "", more)
    for part in message.content:
        if part.type in parts_.KINDS and message.role == "user":
            parts_.check(part, where)
        elif _text(part, message.role) is None:
            raise invalid(where, f"Parts of type {part.type!r} cannot be read here.")
    text = "".join(_text(part, message.role) or "" for part in message.content)
    if any(part.type in parts_.KINDS for part in message.content):
        more = {**more, "content": [_forwarded(part) for part in message.content]}
    return Turn(message.role, text, more)


def _text(part: Part, role: str) -> str | None:
    if part.type == "refusal" and role == "assistant":
        return part.refusal
    return part.text if part.type == "text" else None


def _forwarded(part: Part) -> dict[str, Any]:
    value: dict[str, Any] = msgspec.to_builtins(part)
    return value


def _calls(message: Message, where: str) -> list[dict[str, Any]]:
    if message.role != "assistant":
        raise invalid(f"{where}.tool_calls", "Only messages of the assistant call tools.")
    calls: Sequence[ToolCall] = message.tool_calls or ()
    value: list[dict[str, Any]] = msgspec.to_builtins(calls)
    return value
