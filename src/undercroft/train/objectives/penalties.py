"""What holds a model to what it knew: penalties, added to any objective's loss.

A penalty is a number for the whole model or batch, in units of the mean loss of a target. The loop
divides sums by the targets of a step; `Penalised` multiplies by those of a batch, so that over the
batches of a step each penalty counts once, however they were cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from undercroft.errors import BadConfig, BadInput
from undercroft.train.models.lora import adapters_off
from undercroft.train.objectives.branches import target_states
from undercroft.train.objectives.chunked import summed
from undercroft.train.objectives.objective import Batch, Objective, Terms
from undercroft.train.parallel.device import CPU
from undercroft.train.parallel.placement import is_spread

S = TypeVar("S")


class Penalty(Protocol):
    """A scalar with a graph; ``name`` is what it is reported under."""

    @property
    def name(self) -> str: ...

    def __call__(self, model: Any, batch: Batch, /) -> Tensor: ...


class Penalised(Generic[S]):
    """``objective`` with ``penalties`` added to its loss; each is reported as a metric too.

    In evaluation mode it is the objective's loss alone: what is held out is not penalised.
    """

    def __init__(self, objective: Objective[Any], penalties: Sequence[Penalty]) -> None:
        self._objective = objective
        self._penalties = tuple(penalties)

    def collate(self, sample: S, /) -> Batch | None:
        return self._objective.collate(sample)

    def terms(self, model: Any, batch: Batch) -> Terms:
        found = self._objective.terms(model, batch)
        loss = found.loss_sum
        metrics = dict(found.metrics)
        for penalty in self._penalties if model.training else ():
            cost = penalty(model, batch)
            loss = loss + cost * found.count
            metrics[penalty.name] = (float(cost.detach()) * found.count, found.count)
        return replace(found, loss_sum=loss, metrics=metrics)


@dataclass(frozen=True)
class Quadratic:
    """strength / 2 * sum_i importance_i (w_i - anchor_i)^2, over trainable weights by name.

    With the Fisher as importance it is elastic weight consolidation (Kirkpatrick et al. 2017,
    equation 3), the Laplace approximation of what earlier data say: with as many earlier targets as
    new ones a strength of 1 is theirs, and more holds harder. ``importance`` None is 1 for all:
    L2 to where training began. ``offset`` is what merging adds; it has no gradient.
    """

    strength: float
    anchor: Mapping[str, Tensor]
    importance: Mapping[str, Tensor] | None = None
    offset: float = 0.0
    name: str = "quadratic_penalty"

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:  # noqa: ARG002
        """Raises `BadInput` for a model that has none of the weights, and `BadConfig` for one that
        has parts of them."""
        total: Tensor | float = self.offset
        known = 0
        for name, weight in model.named_parameters():
            anchor = self.anchor.get(name)
            if anchor is None or not weight.requires_grad:
                continue
            known += 1
            if is_spread(weight) or weight.shape != anchor.shape:
                raise BadConfig(
                    "What holds a model to what it knew needs whole weights.",
                    f"Of {name} each process holds a part.",
                    "Set parallel.shard and parallel.tensor to 1, or ewc and l2_to_base to 0.",
                )
            moved = weight.float() - anchor
            pull = moved if self.importance is None else moved * self.importance[name]
            total = total + (pull * moved).sum()
        if not known:
            raise BadInput(
                "What should hold the model to what it knew is of another model.",
                "None of its weights is one that is trained here.",
                "Measure it on the model that training starts from.",
            )
        return self.strength / 2 * total

    def merged(self, later: Quadratic) -> Quadratic:
        """The sum of both penalties as one: the same gradient everywhere, at the memory of one.

        A sum of quadratics is one around their weighted mean. Both need an importance for the
        same weights; ``strength`` stays this one's.
        """
        if self.importance is None or later.importance is None:
            raise TypeError("only penalties with importances are merged")
        share = later.strength / self.strength
        anchor: dict[str, Tensor] = {}
        importance: dict[str, Tensor] = {}
        offset = self.offset + share * later.offset
        for name, weight in self.importance.items():
            added = later.importance[name] * share
            both = weight + added
            gap = later.anchor[name] - self.anchor[name]
            pull = torch.where(both > 0, added / both, 1.0)  # where nothing holds, the later one
            anchor[name] = self.anchor[name] + pull * gap
            importance[name] = both
            offset += float((weight * pull * gap * gap).sum())
        return replace(self, anchor=anchor, importance=importance, offset=offset)

    def save(self, path: Path) -> None:
        """Write it to one safetensors file."""
        tensors = {f"anchor.{name}": value for name, value in self.anchor.items()}
        for name, value in (self.importance or {}).items():
            tensors[f"importance.{name}"] = value
        tensors["numbers"] = torch.tensor([self.strength, self.offset], dtype=torch.float64)
        save_file({name: value.contiguous() for name, value in tensors.items()}, path)

    @classmethod
    def load(cls, path: Path, device: torch.device = CPU) -> Quadratic:
        """What `save` wrote, on ``device``; raises `BadInput` for another file."""
        try:
            tensors = load_file(path, device=str(device))
            strength, offset = tensors.pop("numbers").tolist()
        except Exception as error:
            raise BadInput(
                f"{path} is not a penalty.",
                f"{type(error).__name__}: {error}.",
                "Measure the weights' importance again.",
            ) from error
        anchor = {k[7:]: v for k, v in tensors.items() if k.startswith("anchor.")}
        importance = {k[11:]: v for k, v in tensors.items() if k.startswith("importance.")}
        return cls(strength, anchor, importance or None, offset)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A float32 copy of the trainable weights, to hold a model to."""
    return {
        name: weight.detach().float().clone()
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def consolidated(strength: float, model: nn.Module, fisher: Mapping[str, Tensor]) -> Quadratic:
    """Elastic weight consolidation of what ``model`` knows now (`fisher.diagonal`)."""
    return Quadratic(strength, weights_of(model), dict(fisher), name="ewc")


def to_start(strength: float, model: nn.Module) -> Quadratic:
    """L2 to the weights that ``model`` has now."""
    return Quadratic(strength, weights_of(model), name="l2_to_start")


Predicting = Callable[[Any, Batch], tuple[Tensor, nn.Module]]
"""``(model, batch) -> hidden states where a target is predicted (A, D), and what reads them``."""


def answers(model: Any, batch: Batch) -> tuple[Tensor, nn.Module]:
    """Of a language model."""
    return target_states(model, batch), model.lm_head


@dataclass(frozen=True)
class KLToReference:
    """strength * mean over targets of KL(reference || model) of the next token, in nats.

    The direction that keeps all that the reference would have said (learning without forgetting,
    Li and Hoiem 2016, whose cross-entropy it is up to a constant). ``reference`` None is the model
    with its adapters off. It costs a second forward and backward pass of the model, and a forward
    pass of the reference; logits of some targets at a time.
    """

    strength: float
    reference: nn.Module | None = None
    predicting: Predicting = answers
    name: str = "kl_to_reference"

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        theirs_ad, their_head = self._of_reference(model, batch)
        own_ad, own_head = self.predicting(model, batch)

        def loss_of(logits_cv: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                target_cv = their_head(theirs_ad[rows]).to(logits_cv.dtype).log_softmax(-1)
            log_cv = logits_cv.log_softmax(-1)
            found = functional.kl_div(log_cv, target_cv, reduction="sum", log_target=True)
            return found, found.new_zeros(0)

        divergence, _ = summed(own_head, own_ad, loss_of)
        return self.strength * divergence / len(own_ad)

    def _of_reference(self, model: Any, batch: Batch) -> tuple[Tensor, nn.Module]:
        if self.reference is None:
            with adapters_off(model):
                return self.predicting(model, batch)
        with torch.no_grad():
            return self.predicting(self.reference.eval(), batch)
