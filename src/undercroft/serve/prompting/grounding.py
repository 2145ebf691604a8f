"""A conversation -> the passages it may rest on and the messages the model reads.

The last user message is the question; it is asked with the prompt the model was trained on
(`undercroft.retrieve.prompt`). Earlier turns stand between; `history` cuts them to the context.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from undercroft.records import Passage
from undercroft.retrieve import prompt
from undercroft.retrieve.prompt import Template
from undercroft.serve.wire.asks import Ask
from undercroft.serve.wire.frames import Source
from undercroft.serve.wire.turns import Turn

Messages = list[dict[str, Any]]

#: How chat templates mark turns: ChatML, Llama 3, Phi and most others; Gemma; Mistral, Llama 2.
_CONTROL = re.compile(
    r"<\|(?=[^<>|\s]{1,64}\|>)|</?s>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
)


def plain(ask: Ask) -> Messages:
    """The conversation as the client wrote it."""
    return [turn.message() for turn in ask.turns]


def grounded(ask: Ask, passages: Sequence[Passage], template: str | Template) -> Messages:
    """The conversation with its last question asked over ``passages``.

    What the client says as system is added to our own instruction.
    """
    last = max(number for number, turn in enumerate(ask.turns) if turn.role == "user")
    system, user = prompt.messages(ask.turns[last].content, passages, template)
    said = [turn.message() for turn in ask.turns[:last] if _role(turn) != "system"]
    while said and said[0]["role"] != "user":  # chat templates begin with the user
        said.pop(0)
    wishes = [turn.content for turn in ask.turns if _role(turn) == "system" and turn.content]
    first = {"role": "system", "content": "\n\n".join([system["content"], *wishes])}
    return [first, *said, user]


def inert(messages: Messages) -> Messages:
    """``messages`` in which no text is a control token: llama.cpp reads those of its model wherever
    they stand, so that a text could end its turn and begin another's, the system's."""
    return [
        message
        if len(message) == 2 and not _CONTROL.search(str(message["content"]))
        else _inert(message)
        for message in messages
    ]


def _inert(value: Any) -> Any:
    if isinstance(value, str):
        return _CONTROL.sub(lambda found: f"{found[0][0]} {found[0][1:]}", value)
    if isinstance(value, dict):
        is_data = value.get("type") in ("image_url", "input_audio")
        return value if is_data else {name: _inert(each) for name, each in value.items()}
    return [_inert(each) for each in value] if isinstance(value, list) else value


def sources(passages: Sequence[Passage], answer: str) -> list[Source]:
    """The passages shown, numbered as in the prompt, and which of them ``answer`` cites."""
    cited = set(prompt.citations(answer))
    return [
        Source(
            number=number,
            document=passage.document,
            uri=passage.uri,
            title=passage.title,
            span=(passage.start, passage.end),
            cited=number in cited,
        )
        for number, passage in enumerate(passages, start=1)
    ]


def _role(turn: Turn) -> str:
    return "system" if turn.role == "developer" else turn.role
