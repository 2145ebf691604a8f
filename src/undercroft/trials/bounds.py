"""Bounds on a rate, a quantile and a mean that hold at all times at once.

A rate: the likelihood of what was counted, averaged over all rates, over that at the rate p
is a martingale where p is right (Robbins 1970), so the p at which it stays below 1/alpha enclose
the right one. A quantile is where a rate is known: bounds on it are values that were seen. A mean:
the asymptotic bounds of Waudby-Smith et al. 2024, "Time-uniform central limit theory".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

GROWTH = 1.02  # a bin's upper end over its lower: what a quantile is known to
FEWEST = 30
_LEAST = 1e-6  # the end of the first bin


def log_likelihood_ratio(hits: int, total: int, rate: float) -> float:
    """Of ``hits`` among ``total``: the mean over all rates against ``rate``, as a logarithm.

    With the uniform prior it is log B(hits + 1, misses + 1) - log(rate^hits (1 - rate)^misses).
    """
    misses = total - hits
    if (rate <= 0 and hits) or (rate >= 1 and misses):
        return math.inf
    beta = math.lgamma(hits + 1) + math.lgamma(misses + 1) - math.lgamma(total + 2)
    expected = (hits * math.log(rate) if hits else 0.0) + (
        misses * math.log1p(-rate) if misses else 0.0
    )
    return beta - expected


def counts_at(rate: float, total: int, alpha: float) -> tuple[int, int]:
    """The fewest and the most hits among ``total`` that do not speak against ``rate``."""
    wall = -math.log(alpha)
    likely = min(total, round(rate * total))
    if log_likelihood_ratio(likely, total, rate) >= wall:
        return 0, total
    least = _edge(lambda hits: log_likelihood_ratio(hits, total, rate) < wall, likely, -1)
    most = _edge(lambda hits: log_likelihood_ratio(hits, total, rate) < wall, likely, total + 1)
    return least, most


def mean_bounds(
    total: float, squares: float, count: int, alpha: float, best_at: int = 1000
) -> tuple[float, float]:
    """Enclose a mean, from the sum of ``count`` numbers and of their squares.

    Asymptotic, so that fewer than 30 say nothing. Narrowest near ``best_at`` of them.
    """
    if count < FEWEST:
        return -math.inf, math.inf
    mean = total / count
    variance = max(0.0, squares / count - mean * mean)
    rho_squared = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / best_at
    scaled = count * rho_squared + 1
    width = math.sqrt(
        variance * 2 * scaled / (count**2 * rho_squared) * math.log(math.sqrt(scaled) / alpha)
    )
    return mean - width, mean + width


@dataclass(slots=True)
class Spread:
    """Positive numbers counted in bins that each end 2 % higher, so that memory stays small."""

    bins: dict[int, int] = field(default_factory=dict[int, int])
    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        place = max(0, math.ceil(math.log(max(value, _LEAST) / _LEAST) / math.log(GROWTH)))
        self.bins[place] = self.bins.get(place, 0) + 1
        self.count += 1
        self.total += value
        self.squares += value * value

    def quantile(self, share: float) -> float:
        """The end of the bin that holds it; 0 without numbers."""
        return self._ranked(math.ceil(share * self.count), upper=True) if self.count else 0.0

    def quantile_bounds(self, share: float, alpha: float) -> tuple[float, float]:
        """Enclose the quantile of what the numbers are drawn from, at all times at once."""
        least, most = counts_at(share, self.count, alpha)
        low = self._ranked(least, upper=False) if least else 0.0
        high = self._ranked(most + 1, upper=True) if most < self.count else math.inf
        return low, high

    def mean_bounds(self, alpha: float) -> tuple[float, float]:
        return mean_bounds(self.total, self.squares, self.count, alpha)

    def _ranked(self, rank: int, *, upper: bool) -> float:
        """An end of the bin with the ``rank``-th smallest number, counted from 1."""
        passed = 0
        for place in sorted(self.bins):
            passed += self.bins[place]
            if passed >= rank:
                return float(_LEAST * GROWTH ** (place if upper else place - 1))
        return math.inf


def _edge(holds: Callable[[int], bool], inside: int, outside: int) -> int:
    """The last number from ``inside`` towards ``outside`` for which ``holds``."""
    while abs(outside - inside) > 1:
        middle = (inside + outside) // 2
        inside, outside = (middle, outside) if holds(middle) else (inside, middle)
    return inside
