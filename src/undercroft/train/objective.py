"""What a training run minimises: the protocol of an objective, and the registry of them.

An objective hands over sums and counts; the loop does every division, so that a step weighs every
target alike however it was cut into micro-batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from undercroft.errors import BadConfig, nearest
from undercroft.records import Example

Tensor = Any  # torch.Tensor; torch is heavy and imported only where it is used


@dataclass(frozen=True)
class Terms:
    """``loss_sum`` over ``count`` targets (a scalar with a graph), and sums to report with it."""

    loss_sum: Tensor
    count: int
    metrics: Mapping[str, tuple[float, int]]


@dataclass(frozen=True)
class Batch:
    """One forward pass: what `Objective.collate` made, its targets, tokens and examples."""

    tensors: Mapping[str, Tensor]
    count: int
    num_tokens: int
    num_examples: int
    ids: tuple[str, ...] = field(default=())


class Objective(Protocol):
    """Turns examples into batches, and a batch into a loss.

    ``collate`` gets examples that `data.packs` put together, and returns None when none of them
    fits the limit of tokens. ``batch.count`` is known before the forward pass.
    """

    def collate(self, examples: Sequence[Example]) -> Batch | None: ...

    def terms(self, model: Any, batch: Batch) -> Terms: ...


Maker = Callable[[Any, str, int], Objective]
"""``(tokenizer, title of the documents, max_tokens) -> Objective``."""


def _sft(tokenizer: Any, title: str, max_tokens: int) -> Objective:
    from undercroft.train.objectives.sft import SupervisedFineTuning

    return SupervisedFineTuning(tokenizer, title, max_tokens)


OBJECTIVES: dict[str, Maker] = {"sft": _sft}


def objective(name: str, tokenizer: Any, title: str, max_tokens: int) -> Objective:
    """The objective called ``name``; raises `BadConfig` with the nearest name."""
    if name not in OBJECTIVES:
        near = nearest(name, OBJECTIVES)
        raise BadConfig(
            f"train.objective is {name!r}, which there is not.",
            f"The nearest is {near!r}." if near else "",
            f"Objectives are {', '.join(OBJECTIVES)}.",
        )
    return OBJECTIVES[name](tokenizer, title, max_tokens)
