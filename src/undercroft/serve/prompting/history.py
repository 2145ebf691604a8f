"""A conversation that is longer than the model's context -> what of it the model is to read.

The system text and the last question with all that follows it always stay. Before them come as many
of the newest exchanges as there is room for, and the conversation's first one if it still fits: it
mostly says what all is about. An exchange is a user's message with what followed it, so that no
call of a tool loses its result.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

Messages = list[dict[str, Any]]
Count = Callable[[Messages], Awaitable[int | None]]

#: Share of the room from which the estimate is checked by the engine's own tokenizer.
UNSURE: Final = 0.6
#: The first exchange stays if it takes no more of the room than this.
FIRST_SHARE: Final = 0.25
_MESSAGE_TOKENS: Final = 8  # what a chat template puts around one
_IMAGE_TOKENS: Final = 256
_TRIES: Final = 4


async def fitted(messages: Messages, room: int, count: Count) -> tuple[Messages, bool]:
    """``messages`` within ``room`` tokens, and whether any had to be left out.

    ``count`` gives the exact number of tokens, or None when it cannot be known; it is asked only
    where the estimate comes near the room. What must stay may be longer than the room.
    """
    if estimated(messages) <= room * UNSURE:
        return messages, False
    kept = messages
    for _ in range(_TRIES):
        exact = await count(kept)
        if exact is None:
            kept = cut(kept, room)
            break
        if exact <= room:
            break
        shorter = cut(kept, int(0.97 * estimated(kept) * room / exact))
        if len(shorter) == len(kept):
            break
        kept = shorter
    return kept, len(kept) < len(messages)


def cut(messages: Messages, room: int) -> Messages:
    """``messages`` within an estimate of ``room`` tokens."""
    system = [each for each in messages if each["role"] == "system"]
    exchanges = _exchanges([each for each in messages if each["role"] != "system"])
    room -= estimated(system) + estimated(exchanges[-1])
    whole = room
    first, older = exchanges[:1], exchanges[1:-1]
    if len(exchanges) == 1:
        return messages
    stays = estimated(first[0]) <= max(whole * FIRST_SHARE, whole - sum(map(estimated, older)))
    room -= estimated(first[0]) if stays else 0
    kept: list[Messages] = []
    for exchange in reversed(older):
        room -= estimated(exchange)
        if room < 0:
            break
        kept.insert(0, exchange)
    shown = [*(first if stays and whole >= 0 else []), *kept, exchanges[-1]]
    wanted = {id(each) for each in (*system, *(m for exchange in shown for m in exchange))}
    return [each for each in messages if id(each) in wanted]


def estimated(messages: Sequence[dict[str, Any]]) -> int:
    """About how many tokens ``messages`` are: rather too many of English, of code and of others."""
    return sum(map(_size, messages))


def tokens_of(text: str) -> int:
    """About how many tokens ``text`` is: three characters of ASCII to one, two bytes of others."""
    num_bytes = len(text.encode("utf-8", "replace"))
    others = num_bytes - len(text)
    ascii_ = max(0, len(text) - others)
    return ascii_ // 3 + (num_bytes - ascii_) // 2 + 1


def _size(message: dict[str, Any]) -> int:
    content = message.get("content")
    tokens = _MESSAGE_TOKENS
    if isinstance(content, list):
        for part in content:
            is_text = part.get("type") == "text"
            tokens += tokens_of(part["text"]) if is_text else _IMAGE_TOKENS
    else:
        tokens += tokens_of(content or "")
    if message.get("tool_calls"):
        tokens += tokens_of(json.dumps(message["tool_calls"]))
    return tokens


def _exchanges(messages: Messages) -> list[Messages]:
    """``messages`` from one message of the user to the next; the first may begin with another's."""
    found: list[Messages] = []
    for message in messages:
        if message["role"] == "user" or not found:
            found.append([])
        found[-1].append(message)
    last = max(
        (at for at, each in enumerate(found) if each[0]["role"] == "user"), default=len(found) - 1
    )
    return [*found[:last], [each for exchange in found[last:] for each in exchange]]
