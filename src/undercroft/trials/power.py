"""How many units a trial needs, before it is begun."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from undercroft.trials.evidence import SHARES


@dataclass(frozen=True, slots=True)
class Plan:
    """``pairs``: how many until a real change is found, as a rule; a unit in each arm is a pair.

    ``units`` is how many must arrive for that when each arm gets ``share`` of them.
    """

    rate: float
    change: float
    alpha: float
    share: float
    pairs: int
    units: int


def plan(rate: float, change: float, *, alpha: float, share: float, margin: float = 0.0) -> Plan:
    """For a control's ``rate`` and a canary's ``rate + change``.

    The evidence grows by E[log(1 + share of the bet (d - margin))] a pair; the best share's growth
    has to make up log(1/alpha) and what the other shares cost, log of their number. That is the
    median within a few percent (Wald's approximation without overshoot).
    """
    worse = min(1.0, max(0.0, rate + change))
    up, down = worse * (1 - rate), rate * (1 - worse)
    shares = SHARES / (1 + margin)
    growth = (
        up * np.log1p(shares * (1 - margin))
        + (1 - up - down) * np.log1p(-shares * margin)
        + down * np.log1p(-shares * (1 + margin))
    )
    best = float(growth.max())
    if best <= 0:
        return Plan(rate, change, alpha, share, 0, 0)
    neighbours = np.exp((growth - best) / best * math.log(1 / alpha)).sum()
    needed = math.ceil((math.log(len(SHARES) / alpha) - math.log(neighbours)) / best)
    return Plan(rate, change, alpha, share, needed, math.ceil(needed / share))
