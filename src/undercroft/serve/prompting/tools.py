"""Calls of tools for models that know nothing of tools: asked for in words, read from JSON.

The tools stand in the system message and the model answers ``{"name": …, "arguments": {…}}``. Where
a call is required the engine is held to that by a grammar; otherwise an answer is a call when it
begins like one. Engines that know tools themselves get them as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from undercroft.serve.prompting.grounding import Messages
from undercroft.serve.wire.pieces import Piece, ToolPiece, new_call_id

FIELDS = ("tools", "tool_choice", "parallel_tool_calls")

_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*"([\w.-]{1,64})"\s*,\s*"arguments"\s*:\s*(?=\{)')
_BEGINNING = '{"name":"'
_LONGEST_HEAD = 200
_TOKENS = re.compile(r'\\.|["{}]', re.DOTALL)
_ANY_OBJECT = {"type": "object"}


def is_required(fields: Mapping[str, Any]) -> bool:
    """Whether the answer must be a call."""
    choice = fields.get("tool_choice", "auto")
    return choice == "required" or isinstance(choice, dict)


def in_words(
    messages: Messages, fields: Mapping[str, Any]
) -> tuple[Messages, dict[str, Any], list[str]]:
    """What a model that knows nothing of tools is to read instead of ``fields``: the messages, the
    fields that replace them, and the names that it may call."""
    plain = [_spoken(message) for message in messages]
    choice = fields.get("tool_choice", "auto")
    functions = [tool["function"] for tool in fields.get("tools", ())]
    if choice == "none" or not functions:
        return plain, {}, []
    if isinstance(choice, dict):
        functions = [each for each in functions if each["name"] == choice["function"]["name"]]
    extra = {"response_format": _form(functions)} if is_required(fields) else {}
    first = {"role": "system", "content": _description(functions, is_required(fields))}
    if plain and plain[0]["role"] == "system":
        first["content"] = f"{plain[0]['content']}\n\n{first['content']}"
        plain = plain[1:]
    return [first, *plain], extra, [each["name"] for each in functions]


def _description(functions: Sequence[Mapping[str, Any]], required: bool) -> str:
    tools = "\n".join(json.dumps(each, ensure_ascii=False) for each in functions)
    when = "Call one of them" if required else "To call one"
    return (
        f"You can call these functions:\n{tools}\n{when}: answer with nothing but "
        '{"name": "…", "arguments": {…}}.'
    )


def _form(functions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The response format of a call. llama.cpp writes properties in their order here."""
    calls = [
        {
            "type": "object",
            "properties": {
                "name": {"const": each["name"]},
                "arguments": {**_ANY_OBJECT, **(each.get("parameters") or {})},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for each in functions
    ]
    schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return {"type": "json_schema", "json_schema": {"name": "call", "schema": schema}}


def _spoken(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message with calls or their results as text."""
    role, content = message["role"], message["content"]
    if role == "tool":
        return {"role": "user", "content": f"The function returned: {content}"}
    if calls := message.get("tool_calls"):
        said = [
            f'{{"name": "{call["function"]["name"]}", "arguments": '
            f"{call['function']['arguments'] or '{}'}}}"
            for call in calls
        ]
        return {"role": role, "content": "\n".join([*([content] if content else []), *said])}
    return dict(message)


async def read(
    pieces: AsyncGenerator[Piece, None], names: Collection[str]
) -> AsyncGenerator[Piece, None]:
    """``pieces`` with a text that is a call of one of ``names`` as that call."""
    reader = CallReader(names)
    async with aclosing(pieces):
        async for piece in pieces:
            reader.read(piece)
            if piece.says or piece.finish_reason or piece.usage:
                yield piece


class CallReader:
    """Tells, as early as it can, whether a text is a call, and cuts it up."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._held: str | None = ""  # of a text that may still become a call
        self._depth = 0  # of braces in the arguments
        self._in_string = False
        self._cut = ""
        self._is_call = False
        self._is_over = False

    def read(self, piece: Piece) -> None:
        """Turn the text of ``piece`` into parts of a call, where it is."""
        if self._is_call:
            arguments, piece.text = self._arguments(piece.text), ""
            piece.tools = [ToolPiece(0, arguments=arguments)] if arguments else None
        elif self._held is not None:
            self._decide(piece)
        if self._is_call:
            piece.tokens = None
            if piece.finish_reason == "stop":
                piece.finish_reason = "tool_calls"

    def _decide(self, piece: Piece) -> None:
        text = (self._held or "") + piece.text
        head = _HEAD.match(text)
        if head is not None and head[1] in self._names:
            self._is_call, self._held, piece.text = True, None, ""
            arguments = self._arguments(text[head.end() :])
            piece.tools = [ToolPiece(0, new_call_id(), head[1], arguments)]
        elif piece.finish_reason is None and self._may_become_call(text):
            self._held, piece.text = text, ""
        else:
            self._held, piece.text = None, text

    @staticmethod
    def _may_become_call(text: str) -> bool:
        compact = "".join(text.split())
        if len(compact) <= len(_BEGINNING):
            return _BEGINNING.startswith(compact)
        return compact.startswith(_BEGINNING) and len(compact) < _LONGEST_HEAD

    def _arguments(self, text: str) -> str:
        """What of ``text`` belongs to the arguments, which end with the brace that closes them."""
        if self._is_over:
            return ""
        text = self._cut + text
        num_backslashes = len(text) - len(text.rstrip("\\"))
        self._cut = "\\" if num_backslashes % 2 else ""  # what it escapes is to come
        text = text.removesuffix(self._cut)
        for found in _TOKENS.finditer(text):
            mark = found[0]
            if mark == '"':
                self._in_string = not self._in_string
            elif not self._in_string and mark in "{}":
                self._depth += 1 if mark == "{" else -1
                if not self._depth:
                    self._is_over = True
                    return text[: found.end()]
        return text
