"""The passes of one step: each batch forward and back, and what all ranks measured together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sized
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import nn

from undercroft.train.drawing import Draw, Drawer
from undercroft.train.objectives.objective import Objective
from undercroft.train.parallel.placement import is_spread
from undercroft.train.parallel.team import Team

S = TypeVar("S", bound=Sized)


@dataclass(frozen=True, slots=True)
class Measured:
    """Over a step's targets on all ranks: the mean loss, and the mean of each metric over its own
    count."""

    loss: float
    metrics: Mapping[str, float]


class Passes(Generic[S]):
    """Leaves the gradient of the step's mean loss on the weights, this rank's share of the sum."""

    def __init__(
        self, model: nn.Module, objective: Objective[S], drawer: Drawer[S], team: Team
    ) -> None:
        self._model = model
        self._objective = objective
        self._drawer = drawer
        self._team = team
        self._is_spread = any(is_spread(weight) for weight in model.parameters())

    def run(self, draw: Draw) -> Measured:
        """One pass for each of ``draw.mine``."""
        loss = 0.0
        sums: dict[str, tuple[float, int]] = {}
        for batch in draw.mine:
            terms = self._objective.terms(self._model, batch)
            (terms.loss_sum / draw.count).backward()
            loss += float(terms.loss_sum.detach())
            for name, (value, count) in terms.metrics.items():
                before = sums.get(name, (0.0, 0))
                sums[name] = (before[0] + value, before[1] + count)
        if self._is_spread:
            self._keep_up(draw.most - len(draw.mine))
        return self._of_all(loss, sums, draw.count)

    def _keep_up(self, passes: int) -> None:
        """Take part in passes of other ranks, without a share in the gradient."""
        for _ in range(passes):
            terms = self._objective.terms(self._model, self._drawer.any_batch())
            (terms.loss_sum * 0).backward()

    def _of_all(self, loss: float, sums: Mapping[str, tuple[float, int]], targets: int) -> Measured:
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
