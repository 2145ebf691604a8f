"""A model cut into stages of a pipeline: each rank keeps some blocks, under their own names."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from undercroft.errors import BadConfig


@dataclass(frozen=True)
class Chunk:
    """One stage: number ``stage`` of ``stages``, and the part of the model that computes it."""

    stage: int
    stages: int
    model: Any

    @property
    def is_first(self) -> bool:
        return self.stage == 0

    @property
    def is_last(self) -> bool:
        return self.stage == self.stages - 1

    def reading(self, received: Tensor | None) -> Any:
        """What stands for the model in a forward pass that goes on from ``received`` (1, T, D)."""
        return _Reading(self.model, received)


class _Reading:
    """A model whose body, asked about tokens, goes on from what the stage before gave.

    Its head and all else is the model's. The body can be asked once: what was received is one
    batch's.
    """

    def __init__(self, model: Any, received: Tensor | None) -> None:
        self._model = model
        self._received = received

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def model(self, *, input_ids: Tensor, **others: Any) -> Any:
        if self._received is None:
            return self._model.model(input_ids=input_ids, **others)
        return self._model.model(inputs_embeds=self._received, **others)


def bounds(layers: int, stages: int) -> list[range]:
    """Which blocks each stage has; raises `BadConfig` when there are not enough.

    The last stages have fewer, as the last one has the head besides.
    """
    if layers < stages:
        raise BadConfig(
            f"A model of {layers} blocks makes no pipeline of {stages} stages.",
            "Each needs one block at least.",
            f"Set parallel.pipeline to {layers} or less; the interleaved schedule has "
            "parallel.chunks stages for each.",
        )
    cuts = [-(-layers * stage // stages) for stage in range(stages + 1)]
    return [range(first, last) for first, last in pairwise(cuts)]


def cut(model: Any, rank: int, ranks: int, chunks: int) -> tuple[tuple[Chunk, ...], set[str]]:
    """Take from ``model`` what is not of the stages of ``rank``; gives these, and the names of
    weights that first and last both hold.

    Stages are dealt out in turn: ``rank`` has every ``ranks``-th. Raises `BadConfig` for a model
    that has no ``model.layers``.
    """
    inner = getattr(model, "model", None)
    layers = getattr(inner, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise BadConfig(
            "This model makes no pipeline.",
            "It has no list of blocks at model.layers.",
            "Set parallel.pipeline to 1.",
        )
    assert inner is not None
    stages = ranks * chunks
    spans = bounds(len(layers), stages)
    mine = [stage for stage in range(stages) if stage % ranks == rank]
    every = list(layers)
    found = tuple(
        Chunk(stage, stages, _piece(model, [every[at] for at in spans[stage]], stage, stages))
        for stage in mine
    )
    kept = {at for stage in mine for at in spans[stage]}
    for at in range(len(every)):
        if at not in kept:
            del layers._modules[str(at)]
    tied = _tied(model)
    is_first, is_last = 0 in mine, stages - 1 in mine
    if not is_first and not (is_last and tied):
        inner.embed_tokens = None
    if not is_last:
        inner.norm = None
        for head in ("lm_head", "score"):
            if hasattr(model, head):
                setattr(model, head, None)
    return found, tied


def _tied(model: Any) -> set[str]:
    head = getattr(model, "lm_head", None)
    is_tied = head is not None and head.weight is model.model.embed_tokens.weight
    return {"model.embed_tokens.weight"} if is_tied else set()


def _piece(model: Any, blocks: list[nn.Module], stage: int, stages: int) -> Any:
    """``model`` with these blocks alone, and with its first and last layers where they belong."""
    inner = _shallow(model.model)
    inner._modules["layers"] = nn.ModuleList(blocks)
    if stage:
        inner._modules["embed_tokens"] = None
    if stage != stages - 1:
        inner._modules["norm"] = nn.Identity()
    piece = _shallow(model)
    piece._modules["model"] = inner
    return piece


def _shallow(module: Any) -> Any:
    """A module with the same parts, which can be replaced in one and stay in the other."""
    made = copy.copy(module)
    made._modules = dict(module._modules)
    return made
