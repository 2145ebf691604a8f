"""What a line of models forgets: scores of each on each domain, and what is made of them.

R[i, j] is the score of model i on held-out data of domain j; more is better. From it come

- backward transfer, the mean over domains of R[last, j] - R[l(j), j], where model l(j) is the one
  that had just learnt domain j (Lopez-Paz and Ranzato 2017, equation 3); below 0 is forgetting;
- forgetting of domain j, max_i R[i, j] - R[last, j] over the models before the last (Chaudhry et
  al. 2018, equation 3), which needs no l(j).

`judge` is the gate: whether the last model may be released for what it forgot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undercroft.evaluate.bootstrap import Difference

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """``scores`` are [models, domains]; ``learnt_by`` is l(j), None where no model is said to have
    learnt domain j, such as what the first one knew already."""

    models: tuple[str, ...]
    domains: tuple[str, ...]
    scores: Floats
    learnt_by: tuple[int | None, ...]

    @property
    def average(self) -> float:
        """The last model's mean over all domains."""
        return float(self.scores[-1].mean())

    @property
    def backward_transfer(self) -> float | None:
        """None where no domain was learnt before the last model."""
        gaps = [
            self.scores[-1, domain] - self.scores[model, domain]
            for domain, model in enumerate(self.learnt_by)
            if model is not None and model < len(self.models) - 1
        ]
        return float(np.mean(gaps)) if gaps else None

    @property
    def forgotten(self) -> Floats:
        """For each domain how far the last model is below the best before it; below 0 is a gain."""
        if len(self.models) == 1:
            return np.zeros(len(self.domains))
        gaps: Floats = np.subtract(self.scores[:-1].max(axis=0), self.scores[-1])
        return gaps

    @property
    def forgetting(self) -> float | None:
        """The mean of `forgotten`, over the domains that were learnt before the last model."""
        last = len(self.models) - 1
        earlier = [j for j, model in enumerate(self.learnt_by) if model is None or model < last]
        return float(self.forgotten[earlier].mean()) if earlier and last else None

    def as_dict(self) -> dict[str, Any]:
        return {
            "models": list(self.models),
            "domains": list(self.domains),
            "scores": [[round(float(score), 4) for score in row] for row in self.scores],
            "average": round(self.average, 4),
            "backward_transfer": _rounded(self.backward_transfer),
            "forgotten": [round(float(each), 4) for each in self.forgotten],
            "forgetting": _rounded(self.forgetting),
        }


def in_order(models: int, domains: int) -> tuple[int | None, ...]:
    """l(j) where models learnt one domain after the other, as far as numbers tell.

    As many models as domains: model j learnt domain j. One more: the first is their parent. Any
    other numbers say nothing.
    """
    if models == domains:
        return tuple(range(domains))
    if models == domains + 1:
        return tuple(range(1, models))
    return (None,) * domains


@dataclass(frozen=True, slots=True)
class Loss:
    """What the last model lost on one domain, against the best before it.

    ``rise`` is the share by which the perplexity rose; ``difference`` compares the perplexities.
    """

    domain: str
    best: str
    rise: float
    difference: Difference

    @property
    def is_chance(self) -> bool:
        """Whether the interval of the difference holds zero; with few passages it is not asked."""
        return self.difference.low <= 0 <= self.difference.high


@dataclass(frozen=True, slots=True)
class Verdict:
    """``reason`` is one sentence for people, with the numbers that decided."""

    passed: bool
    reason: str


def judge(losses: Sequence[Loss], most: float) -> Verdict:
    """Whether no domain's perplexity rose by more than the share ``most``, chance aside.

    A rise whose interval holds zero is no reason to refuse.
    """
    lost = [loss for loss in losses if loss.rise > most and not loss.is_chance]
    if lost:
        told = ", ".join(_told(loss) for loss in lost)
        return Verdict(False, f"It forgot more than {most:.1%} allows: {told}.")
    if not losses:
        return Verdict(True, "There is no model before it that it could have forgotten from.")
    worst = max(losses, key=lambda loss: loss.rise)
    chance = ", which may be chance" if worst.rise > most else ""
    return Verdict(True, f"The most that it lost is {_told(worst)}{chance}.")


def _told(loss: Loss) -> str:
    found = loss.difference
    return (
        f"{loss.domain} (perplexity {found.base:.2f} → {found.tuned:.2f}, {loss.rise:+.1%}, "
        f"against {loss.best})"
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
