"""How many units a trial needs, before it is begun."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from undercroft.trials.evidence import SHARES

FOUR_OF_FIVE = 0.8416  # the normal distribution's quantile


@dataclass(frozen=True, slots=True)
class Plan:
    """``pairs``: how many until half of all trials have found a real change; a unit in each arm is
    a pair. By ``pairs_likely`` four of five have.

    ``units`` and ``units_likely`` are how many must arrive for that when each arm gets ``share`` of
    them.
    """

    rate: float
    change: float
    alpha: float
    share: float
    pairs: int
    units: int
    pairs_likely: int
    units_likely: int


def plan(rate: float, change: float, *, alpha: float, share: float, margin: float = 0.0) -> Plan:
    """For a control's ``rate`` and a canary's ``rate + change``; a change for the better is found
    by the same bets with the arms exchanged.

    The evidence grows by E[log(1 + share of the bet (d - margin))] a pair; the best share's growth
    has to make up log(1/alpha) and what the other shares cost, log of their number. That is the
    median within some percent (Wald's approximation without overshoot). Four of five are there
    where the sum of growth is above that with a probability of 0.8, by its mean and variance; in
    simulations 83 to 92 % were (rates 1 to 30 %, changes of 2 to 10 points).
    """
    worse, better = min(max(rate, rate + change), 1.0), max(min(rate, rate + change), 0.0)
    up, down = worse * (1 - better), better * (1 - worse)
    shares = SHARES / (1 + margin)
    won = np.log1p(shares * (1 - margin))
    level = np.log1p(-shares * margin)
    lost = np.log1p(-shares * (1 + margin))
    growth = up * won + (1 - up - down) * level + down * lost
    chosen = int(growth.argmax())
    best = float(growth[chosen])
    if best <= 0:
        return Plan(rate, change, alpha, share, 0, 0, 0, 0)
    squares = up * won**2 + (1 - up - down) * level**2 + down * lost**2
    spread = math.sqrt(float(squares[chosen]) - best * best)
    neighbours = np.exp((growth - best) / best * math.log(1 / alpha)).sum()
    wall = math.log(len(SHARES) / alpha) - math.log(neighbours)
    half, likely = wall / best, _reached(wall, best, spread)
    return Plan(
        rate, change, alpha, share, math.ceil(half), math.ceil(half / share),
        math.ceil(likely), math.ceil(likely / share),
    )  # fmt: skip


def _reached(wall: float, growth: float, spread: float) -> float:
    """The n at which a sum of n numbers of mean ``growth`` is above ``wall`` four times of five."""
    width = FOUR_OF_FIVE * spread
    return ((width + math.sqrt(width * width + 4 * growth * wall)) / (2 * growth)) ** 2
