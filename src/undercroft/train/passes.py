"""The passes of one step: each batch forward and back, and what all ranks measured together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from undercroft.errors import BadConfig
from undercroft.train.drawing import Draw, Drawer
from undercroft.train.models.attention import by_document
from undercroft.train.objectives.branches import hidden_states
from undercroft.train.objectives.objective import Batch, Objective, Terms
from undercroft.train.parallel.pipeline import Deferred, Pipeline
from undercroft.train.parallel.placement import arranged, is_spread
from undercroft.train.parallel.stages import Chunk
from undercroft.train.parallel.team import Team

S = TypeVar("S", bound=Sized)
Sums = dict[str, tuple[float, int]]


@dataclass(frozen=True, slots=True)
class Measured:
    """Over a step's targets on all ranks: the mean loss, and the mean of each metric over its own
    count."""

    loss: float
    metrics: Mapping[str, float]


class Passes(Generic[S]):
    """Leaves the gradient of the step's mean loss on the weights, this rank's share of the sum.

    A model that is cut into stages reads the micro-batches of a step in the order of its pipeline.
    Raises `BadConfig` for an objective that would read them twice.
    """

    def __init__(
        self, model: nn.Module, objective: Objective[S], drawer: Drawer[S], team: Team
    ) -> None:
        self._model = model
        self._objective = objective
        self._drawer = drawer
        self._team = team
        self._is_spread = any(is_spread(weight) for weight in model.parameters())
        self._pipeline = _pipeline(model, objective, team)
        self._scale = 1.0
        self._recomputes = arranged(model, team).recomputes and hasattr(model, "config")
        is_end = team.pipeline.rank == team.pipeline.size - 1
        #: Whether this rank tells what its data rank measured.
        self.is_told = is_end and team.tensor.rank == 0

    def run(self, draw: Draw, scale: float = 1.0) -> Measured:
        """One pass for each of ``draw.mine``, and as many more as spread weights need of all.

        Gradients are ``scale`` times what they are; what is measured is not.
        """
        self._scale = scale
        batches = [*draw.mine]
        if self._is_spread:
            batches += [self._drawer.any_batch()] * (draw.most - len(batches))
        with self._around():
            if self._pipeline is None:
                found = [self._forward_and_back(each, draw, at) for at, each in enumerate(batches)]
            else:
                found = self._relayed(self._pipeline, batches, draw)
        loss = 0.0
        sums: Sums = {}
        for terms in found[: len(draw.mine)] if self.is_told else ():
            loss += float(terms.loss_sum)
            for name, (value, count) in terms.metrics.items():
                before = sums.get(name, (0.0, 0))
                sums[name] = (before[0] + value, before[1] + count)
        return self._of_all(loss, sums, draw.count)

    @contextmanager
    def _around(self) -> Iterator[None]:
        """What objectives put around forward passes, for backward passes that make them again."""
        if not self._recomputes:
            yield
            return
        with by_document(self._model):
            yield

    def look(self, batch: Batch) -> Terms | None:
        """What the objective says of ``batch``; nothing where another rank is told it. All ranks
        that hold parts of the model ask, in evaluation mode."""
        if self._pipeline is None:
            terms = self._objective.terms(self._model, batch)
            return terms if self.is_told else None
        told: list[Terms] = []

        def forward(chunk: Chunk, _: int, received: Tensor | None) -> Tensor:
            if not chunk.is_last:
                return hidden_states(chunk.reading(received), batch)[None]
            told.append(self._objective.terms(chunk.reading(received), batch))
            return told[0].loss_sum

        self._pipeline.look(self._size(batch), self._dtype, forward)
        return told[0] if told and self.is_told else None

    def _forward_and_back(self, batch: Batch, draw: Draw, at: int) -> Terms:
        terms = self._objective.terms(self._model, batch)
        self._share(terms, draw, at).backward()
        return _without_graph(terms)

    def _relayed(self, pipeline: Pipeline, batches: Sequence[Batch], draw: Draw) -> list[Terms]:
        """The same through all stages; gives the terms on the rank that has the last one."""
        found: list[Terms] = []

        def forward(chunk: Chunk, at: int, received: Tensor | None) -> Tensor:
            reading = chunk.reading(received)
            if not chunk.is_last:
                return hidden_states(reading, batches[at])[None]
            terms = self._objective.terms(reading, batches[at])
            found.append(_without_graph(terms))
            return self._share(terms, draw, at)

        pipeline.run([self._size(batch) for batch in batches], self._dtype, forward)
        return found

    def _share(self, terms: Terms, draw: Draw, at: int) -> Tensor:
        """What a pass adds to the step's mean loss; nothing, if it is made for others' sake."""
        loss: Tensor = terms.loss_sum / draw.count if at < len(draw.mine) else terms.loss_sum * 0
        return loss if self._scale == 1 else loss * self._scale

    def _size(self, batch: Batch) -> tuple[int, int, int]:
        """Of what stages hand on: (1, T, D)."""
        model: Any = self._model
        return 1, len(batch.tensors["tokens_t"]), model.config.hidden_size

    @property
    def _dtype(self) -> torch.dtype:
        """Of the stream between blocks, which is that of their norms."""
        named = self._model.named_parameters()
        return next(each.dtype for name, each in named if "norm" in name)

    def _of_all(self, loss: float, sums: Sums, targets: int) -> Measured:
        """The same numbers on every rank, added in the order of ranks."""
        total = 0.0
        values: dict[str, float] = defaultdict(float)
        counts: dict[str, int] = defaultdict(int)
        for part, theirs in self._team.gather((loss, sums)):
            total += part
            for name, (value, count) in theirs.items():
                values[name] += value
                counts[name] += count
        means = {name: value / max(counts[name], 1) for name, value in values.items()}
        return Measured(total / targets, means)


def _without_graph(terms: Terms) -> Terms:
    return Terms(terms.loss_sum.detach(), terms.count, terms.metrics)


def _pipeline(model: nn.Module, objective: Any, team: Team) -> Pipeline | None:
    layout = arranged(model, team)
    if not layout.chunks:
        return None
    if not getattr(objective, "is_one_pass", False):
        raise BadConfig(
            "What is to be minimised cannot be trained through a pipeline.",
            f"{type(objective).__name__} reads a batch twice, or all weights at once.",
            "Set parallel.pipeline to 1; shard and tensor do as well. next_token, sft and reward "
            "go through a pipeline, and dpo without adapters.",
        )
    deferred = Deferred(model) if layout.schedule == "zero_bubble" else None
    return Pipeline(team.pipeline, layout.chunks, layout.schedule, deferred, team.device)
