"""A conversation -> the passages it may rest on and the messages the model reads.

The last user message is the question; it is asked with the prompt the model was trained on
(`undercroft.retrieve.prompt`). Earlier turns stand between, as many as the context holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from undercroft.records import Passage
from undercroft.retrieve import prompt
from undercroft.retrieve.prompt import Template
from undercroft.serve.admission.budgets import CHARACTERS_PER_TOKEN
from undercroft.serve.wire.asks import Ask
from undercroft.serve.wire.frames import Source
from undercroft.serve.wire.turns import Turn

Messages = list[dict[str, Any]]


def plain(ask: Ask) -> Messages:
    """The conversation as the client wrote it."""
    return [turn.message() for turn in ask.turns]


def grounded(
    ask: Ask, passages: Sequence[Passage], template: str | Template, context: int
) -> Messages:
    """The conversation with its last question asked over ``passages``.

    ``context`` is the tokens that prompt and answer share. What the client says as system is added
    to our own instruction. The oldest turns are left out first.
    """
    last = max(number for number, turn in enumerate(ask.turns) if turn.role == "user")
    system, user = prompt.messages(ask.turns[last].content, passages, template)
    said = [turn for turn in ask.turns[:last] if _role(turn) != "system"]
    wishes = [turn.content for turn in ask.turns if _role(turn) == "system" and turn.content]
    first = {"role": "system", "content": "\n\n".join([system["content"], *wishes])}
    room = (context - ask.max_tokens) * CHARACTERS_PER_TOKEN
    room -= len(first["content"]) + len(user["content"])
    return [first, *_newest(said, room), user]


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


def _newest(turns: Sequence[Turn], room: int) -> Messages:
    """The newest whole turns within ``room`` characters, starting with a user's."""
    kept: list[Turn] = []
    for turn in reversed(turns):
        room -= len(turn.content)
        if room < 0:
            break
        kept.insert(0, turn)
    while kept and kept[0].role != "user":
        kept.pop(0)
    return [{"role": turn.role, "content": turn.content} for turn in kept]


def _role(turn: Turn) -> str:
    return "system" if turn.role == "developer" else turn.role
