"""Does a model still talk like its parent? What alignment can lose, which no preference shows.

A model can win every comparison and be broken: by answers that are empty, or go in circles, or by
having forgotten the language. Each is measured before and after, and has a bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from undercroft.errors import StageFailed

MOST_PROMPTS: Final = 16
_ANSWER_TOKENS: Final = 48
#: Of the language reference that every Python ships: plain text that is always there.
_PAGES: Final = (
    "assignment", "atom-identifiers", "calls", "class", "comparisons", "context-managers",
    "exceptions", "function", "import", "naming", "strings", "while",
)  # fmt: skip
_PAGE_TOKENS: Final = 160
_GRAM: Final = 3
_LEAST_DISTINCT: Final = 0.5  # of an answer's trigrams; under it, it goes in circles
_MORE_SHARE: Final = 0.1  # of answers that may be empty, or circle, more than the parent's


@dataclass(frozen=True, slots=True)
class Soundness:
    """``perplexity`` of plain text; of greedy answers to ``prompts`` prompts their mean length in
    tokens, and the shares that are empty and that go in circles."""

    perplexity: float
    answer_tokens: float
    empty: float
    circling: float
    prompts: int

    def as_dict(self) -> dict[str, float]:
        return {name: float(f"{value:.4g}") for name, value in asdict(self).items()}


def listen(model: Any, tokenizer: Any, prompts: Sequence[list[int]]) -> Soundness:
    """What `Soundness` says of ``model``, which is asked ``prompts``, in tokens."""
    was_training = model.training
    model.eval()
    answers = _answers(model, tokenizer, prompts)
    perplexity = _perplexity(model, tokenizer)
    model.train(was_training)
    return Soundness(
        perplexity,
        sum(map(len, answers)) / len(answers),
        sum(not answer for answer in answers) / len(answers),
        sum(map(circles, answers)) / len(answers),
        len(answers),
    )


def demand_sound(parent: Soundness, child: Soundness, most_perplexity: float) -> None:
    """Raises `StageFailed` for a child that talks worse than its parent; 0 lets all pass."""
    if not most_perplexity:
        return
    ratio = child.perplexity / parent.perplexity
    found = []
    if not ratio <= most_perplexity:
        found.append(
            f"the perplexity of plain text is {ratio:.2f} times the parent's, where "
            f"{most_perplexity:g} is the most"
        )
    for what, before, after in (
        ("are empty", parent.empty, child.empty),
        ("go in circles", parent.circling, child.circling),
    ):
        if after > before + _MORE_SHARE:
            found.append(f"{after:.0%} of its answers {what}, of the parent's {before:.0%}")
    if found:
        raise StageFailed(
            "The aligned model talks worse than its parent.",
            f"{'; '.join(found)}.".capitalize(),
            "Lower align.learning_rate or the steps, or raise align.beta or align.nll; "
            "align.max_perplexity_ratio = 0 keeps it all the same.",
        )


def circles(answer: Sequence[int]) -> bool:
    """Whether most of what an answer says it has said before, word for word."""
    grams = [tuple(answer[at : at + _GRAM]) for at in range(len(answer) - _GRAM + 1)]
    return len(set(grams)) < _LEAST_DISTINCT * len(grams)


def _answers(model: Any, tokenizer: Any, prompts: Sequence[list[int]]) -> list[list[int]]:
    """The likeliest answer to each prompt, without the token that ends it."""
    import torch

    longest = max(map(len, prompts))
    padding = tokenizer.pad_token_id
    rows = [[padding] * (longest - len(each)) + each for each in prompts]
    read = [[0] * (longest - len(each)) + [1] * len(each) for each in prompts]
    with torch.no_grad():
        found = model.generate(
            input_ids=torch.tensor(rows).to(model.device),
            attention_mask=torch.tensor(read).to(model.device),
            max_new_tokens=_ANSWER_TOKENS,
            do_sample=False,
            pad_token_id=padding,
        )
    ends = {padding, tokenizer.eos_token_id}
    answers: list[list[int]] = []
    for row in found[:, longest:].tolist():
        end = next((at for at, token in enumerate(row) if token in ends), len(row))
        answers.append(row[:end])
    return answers


def _perplexity(model: Any, tokenizer: Any) -> float:
    from pydoc_data.topics import topics

    import numpy as np
    import torch

    from undercroft.train.objectives.next_token import NextToken
    from undercroft.train.samples.packing import Span

    texts = [topics[name] for name in _PAGES if name in topics]
    read = [tokenizer(text, add_special_tokens=False)["input_ids"][:_PAGE_TOKENS] for text in texts]
    goal = NextToken()
    batch = goal.collate([(Span("", np.array(each, np.uint32)),) for each in read])
    batch = batch.to(model.device)
    with torch.no_grad():
        loss = float(goal.terms(model, batch).loss_sum) / batch.count
    return math.exp(min(loss, 700.0))
