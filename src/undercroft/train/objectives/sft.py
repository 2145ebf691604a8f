"""Supervised fine-tuning: the model's answer should be the example's, given the served prompt.

Examples that show the same passages share their prompt up to the question. They become one
sequence, read once: the common prefix, then each example's question and answer as a branch that
sees the prefix and itself but not the other branches. The loss and its gradient are those of the
examples read one by one (a test holds that), for a fraction of the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from undercroft.records import Example
from undercroft.retrieve.prompt import REFUSAL, Template, messages, template_of
from undercroft.train.objectives.branches import Branch, answer_losses, pack
from undercroft.train.objectives.chat import encoded
from undercroft.train.objectives.objective import Batch, Terms


class SupervisedFineTuning:
    """Cross-entropy of the answer's tokens, end of turn included; nothing else is scored."""

    is_one_pass = True

    def __init__(self, tokenizer: Any, title: str | Template, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._template = template_of(title)
        self._max_tokens = max_tokens

    def collate(self, examples: Sequence[Example]) -> Batch | None:
        """One sequence of at most ``max_tokens`` from ``examples``; the last give way."""
        branches = [
            (example.id, branch)
            for example in examples
            if sum(map(len, branch := self._encode(example))) <= self._max_tokens
        ]
        while branches:
            batch = pack([branch for _, branch in branches], [name for name, _ in branches])
            if batch.num_tokens <= self._max_tokens:
                return batch
            branches.pop()
        return None

    def terms(self, model: Any, batch: Batch) -> Terms:
        losses_a, is_right_a = answer_losses(model, batch)
        right = float(is_right_a.sum())
        return Terms(losses_a.sum(), batch.count, {"token_accuracy": (right, batch.count)})

    def _encode(self, example: Example) -> Branch:
        chat = messages(example.question, example.passages, self._template)
        return encoded(self._tokenizer, chat, target(example, self._template.refusal))


def target(example: Example, refusal: str = REFUSAL) -> str:
    """The answer that is trained: the document's words, then the passages they stand in; where
    they hold none, ``refusal``."""
    if not example.answerable and example.answer == REFUSAL:
        return refusal
    cited = "".join(f"[{number}]" for number in example.cited)
    return f"{example.answer} {cited}".strip()
