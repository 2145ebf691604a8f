"""Several tasks in one run: each sample knows its task, and is read as its objective reads it.

A step's loss is the mean over all its targets, whatever their task. Each task's own loss is
reported beside it, and its share of the targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar, overload

import torch

from undercroft.train.objectives.objective import Batch, Objective, Terms

S = TypeVar("S", bound=Sized)

_TASK: Final = "task"


@dataclass(frozen=True, slots=True)
class Sample(Generic[S]):
    """What is read in one pass, and as which task."""

    task: str
    content: S

    def __len__(self) -> int:
        return len(self.content)


@dataclass(frozen=True, slots=True, eq=False)
class OfTask(Sequence[Sample[S]]):
    """The ``samples`` of one task."""

    task: str
    samples: Sequence[S]

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, at: int) -> Sample[S]: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Sample[S]]: ...
    def __getitem__(self, at: int | slice) -> Sample[S] | Sequence[Sample[S]]:
        if isinstance(at, slice):
            return OfTask(self.task, self.samples[at])
        return Sample(self.task, self.samples[at])


class Tasks:
    """Each `Sample` by the objective that ``goals`` has for its task."""

    def __init__(self, goals: Mapping[str, Objective[Any]]) -> None:
        self._goals = dict(goals)
        self._names = tuple(self._goals)

    def collate(self, sample: Sample[Any], /) -> Batch | None:
        batch = self._goals[sample.task].collate(sample.content)
        if batch is None:
            return None
        number = torch.tensor(self._names.index(sample.task))
        return replace(batch, tensors={**batch.tensors, _TASK: number})

    def terms(self, model: Any, batch: Batch) -> Terms:
        own = self._names[int(batch.tensors[_TASK])]
        found = self._goals[own].terms(model, batch)
        metrics = dict(found.metrics)
        metrics[f"{own}_loss"] = (float(found.loss_sum.detach()), found.count)
        for name in self._names:
            metrics[f"{name}_share"] = (float(found.count if name == own else 0), found.count)
        return replace(found, metrics=metrics)
