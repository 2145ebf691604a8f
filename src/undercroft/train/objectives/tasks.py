"""Several tasks in one run: each sample knows its task, and is read as its objective reads it.

A sample weighs as much as its task says, not as many targets as it has: a row of documents has a
thousand of them, a chat some thirty, and a pair of answers is one. Within a task every target
weighs alike. A step's loss is the mean over what its samples weigh; each task's own loss is
reported beside it, and its share of the weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import torch

from undercroft.train.objectives.objective import Batch, Objective, Terms
from undercroft.train.samples.mixture import Sample

_TASK: Final = "task"
_TARGETS: Final = "task_targets"


class Tasks:
    """Each `Sample` by the objective that ``goals`` has for its task.

    A target of a task counts as ``scales`` say, and as one where they say nothing.
    """

    def __init__(
        self, goals: Mapping[str, Objective[Any]], scales: Mapping[str, float] | None = None
    ) -> None:
        self._goals = dict(goals)
        self._names = tuple(self._goals)
        self._scales = dict(scales or {})
        self.is_one_pass = all(getattr(goal, "is_one_pass", False) for goal in goals.values())

    def collate(self, sample: Sample[Any], /) -> Batch | None:
        batch = self._goals[sample.task].collate(sample.content)
        if batch is None:
            return None
        weight = max(1, round(batch.count * self._scales.get(sample.task, 1.0)))
        own = {
            _TASK: torch.tensor(self._names.index(sample.task)),
            _TARGETS: torch.tensor(batch.count),
        }
        return replace(batch, tensors={**batch.tensors, **own}, count=weight)

    def terms(self, model: Any, batch: Batch) -> Terms:
        own = self._names[int(batch.tensors[_TASK])]
        plain = replace(batch, count=int(batch.tensors[_TARGETS]))
        found = self._goals[own].terms(model, plain)
        metrics = dict(found.metrics)
        metrics[f"{own}_loss"] = (float(found.loss_sum.detach()), found.count)
        for name in self._names:
            metrics[f"{name}_share"] = (float(batch.count if name == own else 0), batch.count)
        loss = found.loss_sum
        if batch.count != found.count:
            loss = loss * (batch.count / found.count)
        return Terms(loss, batch.count, metrics)
