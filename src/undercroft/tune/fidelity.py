"""How true a smaller model is to its parent: perplexity, and the divergence token by token.

Both engines are made to write the same reference answers; at each token they tell their likeliest
tokens. Over those that both name, and all others as one, the divergence KL(parent || child) is
exact, and by the log-sum inequality never above that over the whole vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from undercroft.engines.client import EngineClient
from undercroft.errors import EngineFailed
from undercroft.tune.work import Task

ANSWER_TOKENS = 24
LIKELIEST = 64

Likely = Mapping[int, float]
"""Token -> log-probability, of the likeliest."""


@dataclass(frozen=True, slots=True)
class Said:
    """What an engine thought of an answer: of each token its log-probability, and the likeliest."""

    chosen: tuple[float, ...]
    likely: tuple[Likely, ...]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Over all tokens: ``perplexity``, mean divergence from the parent in nats, and the share of
    tokens for which both think the same one likeliest."""

    perplexity: float
    divergence: float
    agreement: float
    tokens: int


async def listened(client: EngineClient, tasks: Sequence[Task]) -> list[Said]:
    """What the engine thinks of every reference answer. Raises `EngineFailed`."""
    return [await _listened(client, task) for task in tasks]


async def _listened(client: EngineClient, task: Task) -> Said:
    prompt = await client.render(task.chat)
    tokens = (await client.tokenize(task.answer, special=False))[:ANSWER_TOKENS]
    body: dict[str, Any] = {
        "prompt": prompt,
        "n_predict": len(tokens),
        "temperature": 0.0,
        "grammar": "root ::= " + " ".join(f"<[{token}]>" for token in tokens),
        "n_probs": LIKELIEST,
        "cache_prompt": True,
    }
    steps = (await client.post("/completion", body))["completion_probabilities"][: len(tokens)]
    if [step["id"] for step in steps] != list(tokens):
        raise EngineFailed("The engine did not write the answer it was made to write.")
    likely = tuple({each["id"]: each["logprob"] for each in s["top_logprobs"]} for s in steps)
    return Said(tuple(step["logprob"] for step in steps), likely)


def compared(parent: Sequence[Said], child: Sequence[Said]) -> Fidelity:
    """Of answers that both were made to write, in the same order and tokens."""
    pairs = [
        pair
        for a, b in zip(parent, child, strict=True)
        for pair in zip(a.likely, b.likely, strict=True)
    ]
    chosen = [each for said in child for each in said.chosen]
    count = max(len(pairs), 1)
    return Fidelity(
        math.exp(-sum(chosen) / max(len(chosen), 1)),
        sum(divergence(a, b) for a, b in pairs) / count,
        sum(max(a, key=a.__getitem__) == max(b, key=b.__getitem__) for a, b in pairs) / count,
        len(pairs),
    )


def divergence(parent: Likely, child: Likely) -> float:
    """KL(parent || child) in nats over the tokens that both name and one for the rest."""
    both = parent.keys() & child.keys()
    ours = [math.exp(parent[token]) for token in both]
    theirs = [math.exp(child[token]) for token in both]
    left, other = max(1e-9, 1 - sum(ours)), max(1e-9, 1 - sum(theirs))
    named = sum(p * (parent[token] - child[token]) for p, token in zip(ours, both, strict=True))
    return max(0.0, named + left * math.log(left / other))
