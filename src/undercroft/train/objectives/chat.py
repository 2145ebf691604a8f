"""A conversation and an answer to it as tokens, the way the model's chat template writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from undercroft.train.objectives.branches import Branch

Messages = Sequence[dict[str, str]]


def encoded(tokenizer: Any, chat: Messages, answer: str) -> Branch:
    """Token ids of ``chat`` up to where the assistant speaks, and of ``answer``, which ends its
    turn."""
    prompt = _render(tokenizer, chat, add_generation_prompt=True)
    turn = [*chat, {"role": "assistant", "content": answer}]
    whole = _render(tokenizer, turn, add_generation_prompt=False)
    said = whole[len(prompt) :].strip() if whole.startswith(prompt) else answer
    if not said.endswith(tokenizer.eos_token):
        said += tokenizer.eos_token
    return _ids(tokenizer, prompt), _ids(tokenizer, said)


def _render(tokenizer: Any, chat: Messages, *, add_generation_prompt: bool) -> str:
    text: str = tokenizer.apply_chat_template(
        chat, tokenize=False, add_generation_prompt=add_generation_prompt
    )
    return text


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
