"""Several tasks in one run: each sample knows its task, and is read as its objective reads it.

A step's loss is the mean over all its targets, whatever their task. Each task's own loss is
reported beside it, and its share of the targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import torch

from undercroft.train.objectives.objective import Batch, Objective, Terms
from undercroft.train.samples.mixture import Sample

_TASK: Final = "task"


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
