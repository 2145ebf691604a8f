"""What a training run minimises: the protocol of an objective, and the registry of them.

An objective hands over sums and counts; the loop does every division, so that a step weighs every
target alike however it was cut into micro-batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Protocol, TypeVar

from undercroft.errors import BadConfig, nearest
from undercroft.retrieve.prompt import Template

S_contra = TypeVar("S_contra", bound=Sized, contravariant=True)
Tensor = Any  # torch.Tensor; torch is heavy and imported only where it is used


@dataclass(frozen=True)
class Terms:
    """``loss_sum`` over ``count`` targets (a scalar with a graph), and sums to report with it."""

    loss_sum: Tensor
    count: int
    metrics: Mapping[str, tuple[float, int]]


_ON_HOST: Final = ("nodes_n3", "task", "task_targets")
"""Tensors that Python reads, to know what is to be computed."""


@dataclass(frozen=True)
class Batch:
    """One forward pass: what `Objective.collate` made, its targets, tokens and examples."""

    tensors: Mapping[str, Tensor]
    count: int
    num_tokens: int
    num_examples: int
    ids: tuple[str, ...] = field(default=())

    def to(self, device: Any) -> Batch:
        """The batch on ``device``, which copies it while the host goes on."""
        if device.type == "cpu":
            return self
        return replace(self, tensors=dict(_moved(self.tensors, device)))


def _moved(tensors: Mapping[str, Tensor], device: Any) -> Iterator[tuple[str, Tensor]]:
    for name, each in tensors.items():
        if name in _ON_HOST:
            yield name, each
            continue
        held = each.pin_memory() if device.type == "cuda" else each
        yield name, held.to(device, non_blocking=True)


class Objective(Protocol[S_contra]):
    """Turns samples into batches, and a batch into a loss.

    A sample is what one forward pass reads, and its length the number of examples in it: `packs` of
    examples that share passages, or rows of `packing.Packed`. ``collate`` returns None when none of
    them fits the limit of tokens. ``batch.count`` is known before the forward pass.
    """

    def collate(self, sample: S_contra, /) -> Batch | None: ...

    def terms(self, model: Any, batch: Batch) -> Terms: ...


Maker = Callable[[Any, str | Template, int], Objective[Any]]
"""``(tokenizer, prompt or title of the documents, max_tokens) -> Objective``."""

Reads = Literal["examples", "documents"]


def _sft(tokenizer: Any, title: str | Template, max_tokens: int) -> Objective[Any]:
    from undercroft.train.objectives.sft import SupervisedFineTuning

    return SupervisedFineTuning(tokenizer, title, max_tokens)


def _next_token(tokenizer: Any, title: str | Template, max_tokens: int) -> Objective[Any]:  # noqa: ARG001
    from undercroft.train.objectives.next_token import NextToken

    return NextToken()


OBJECTIVES: dict[str, tuple[Reads, Maker]] = {
    "sft": ("examples", _sft),
    "next_token": ("documents", _next_token),
}
"""What each objective reads, and how it is made."""


def objective(
    name: str, tokenizer: Any, title: str | Template, max_tokens: int, reads: Reads = "examples"
) -> Objective[Any]:
    """The objective called ``name``.

    Raises `BadConfig` with the nearest name, and for one that is not made for what it would read.
    """
    if name not in OBJECTIVES:
        near = nearest(name, OBJECTIVES)
        raise BadConfig(
            f"train.objective is {name!r}, which there is not.",
            f"The nearest is {near!r}." if near else "",
            f"Objectives are {', '.join(OBJECTIVES)}.",
        )
    wanted, make = OBJECTIVES[name]
    if wanted != reads:
        others = ", ".join(each for each, (what, _) in OBJECTIVES.items() if what == reads)
        raise BadConfig(
            f"The objective {name!r} cannot be trained on {reads}.",
            f"It reads {wanted}.",
            f"For {reads} there is {others}; next_token is trained with: undercroft pretrain",
        )
    return make(tokenizer, title, max_tokens)
