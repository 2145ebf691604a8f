"""What one step reads: samples in the sampler's order, shared out among the ranks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import Generic, TypeVar

from undercroft.errors import BadInput
from undercroft.train.objectives.objective import Batch, Objective
from undercroft.train.parallel.team import Team
from undercroft.train.samples.data import Sampler

S = TypeVar("S", bound=Sized)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What all know of a sample that the one of ``rank`` reads; ``ids`` are of what was read."""

    rank: int
    number: int
    ids: tuple[str, ...]
    examples: int
    left_out: int
    tokens: int
    count: int


@dataclass(frozen=True, slots=True)
class Draw:
    """One step's samples: ``mine`` are this rank's, ``all`` those of every rank, in order."""

    mine: tuple[Batch, ...]
    all: tuple[Drawn, ...]

    @property
    def most(self) -> int:
        """Batches of the rank that has most of them."""
        return max(Counter(each.rank for each in self.all if each.examples).values())

    @property
    def count(self) -> int:
        return sum(each.count for each in self.all)

    @property
    def tokens(self) -> int:
        return sum(each.tokens for each in self.all)

    @property
    def examples(self) -> int:
        return sum(each.examples for each in self.all)

    @property
    def ids(self) -> list[str]:
        return [name for each in self.all for name in each.ids]


class Drawer(Generic[S]):
    """Draws a step's samples; what it draws is the same for any number of ranks.

    Each rank collates every ``size``-th sample, and tells the others its size. Samples that turn
    out not to be needed go back, so that where the sampler stands is a function of the steps alone.
    """

    def __init__(
        self,
        objective: Objective[S],
        samples: Sequence[S],
        sampler: Sampler,
        team: Team,
    ) -> None:
        self._objective = objective
        self._samples = samples
        self._sampler = sampler
        self._group = team.data
        self._device = team.device

    def draw(self, batch_size: int) -> Draw:
        """Samples of at least ``batch_size`` examples; raises `BadInput` when none is usable."""
        mine: list[Batch] = []
        drawn: list[Drawn] = []
        examples, misses = 0, 0
        while examples < batch_size:
            first = self._sampler.position
            numbers = [next(self._sampler) for _ in range(self._group.size)]
            batch, own = self._collate(numbers[self._group.rank])
            for rank, each in enumerate(self._group.gather(own)):
                if examples >= batch_size:
                    break
                drawn.append(each)
                examples += each.examples
                misses = 0 if each.examples else misses + 1
                self._sampler.position = first + rank + 1
                if rank == self._group.rank and batch is not None:
                    mine.append(batch)
            if misses >= len(self._samples):
                raise BadInput(
                    "No example is short enough to train on.",
                    "Each is longer than the tokens that are read at once.",
                    "Raise train.max_tokens, or lower index.chunk_chars or retrieve.passages.",
                )
        return Draw(tuple(mine), tuple(drawn))

    def any_batch(self) -> Batch:
        """One that can be read, for a rank that has nothing to read when others have."""
        found = (self._objective.collate(sample) for sample in self._samples)
        return next(batch for batch in found if batch is not None).to(self._device)

    def _collate(self, number: int) -> tuple[Batch | None, Drawn]:
        sample = self._samples[number]
        batch = self._objective.collate(sample)
        batch = None if batch is None else batch.to(self._device)
        rank = self._group.rank
        if batch is None:
            return None, Drawn(rank, number, (), 0, len(sample), 0, 0)
        left_out = len(sample) - batch.num_examples
        told = (batch.ids, batch.num_examples, left_out, batch.num_tokens, batch.count)
        return batch, Drawn(rank, number, *told)
