"""Is a difference between two models more than the luck of which cases were asked?

Paired bootstrap (Efron 1979; percentile interval, Efron & Tibshirani 1993, ch. 13): cases are drawn
again with replacement, both models scored on the same draw, and the interval is what lies between
the percentiles of the resampled differences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from undercroft.settings import EvaluateSettings

#: With fewer paired cases a percentile interval is far too narrow to be called evidence.
MIN_CASES = 8

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Difference:
    """``tuned - base`` of one metric. ``significant`` says that the interval leaves out zero."""

    base: float
    tuned: float
    low: float
    high: float
    cases: int
    significant: bool

    @property
    def difference(self) -> float:
        return self.tuned - self.base


def compare_means(base: Floats, tuned: Floats, settings: EvaluateSettings) -> Difference:
    """Compare the means of two models' scores on the same cases, both [cases]."""
    draws = _draws(len(base), settings)
    differences = (tuned - base)[draws].mean(axis=1)
    return _difference(float(base.mean()), float(tuned.mean()), differences, len(base), settings)


def compare_perplexities(
    base_nll: Floats, tuned_nll: Floats, tokens: Floats, settings: EvaluateSettings
) -> Difference:
    """Compare perplexities: exp of the negative log-likelihood per token over all cases.

    ``base_nll`` and ``tuned_nll`` are sums over a case's reference tokens, ``tokens`` their number.
    """
    draws = _draws(len(tokens), settings)
    counts = tokens[draws].sum(axis=1)
    base = np.exp(base_nll[draws].sum(axis=1) / counts)
    tuned = np.exp(tuned_nll[draws].sum(axis=1) / counts)
    return _difference(
        float(np.exp(base_nll.sum() / tokens.sum())),
        float(np.exp(tuned_nll.sum() / tokens.sum())),
        tuned - base,
        len(tokens),
        settings,
    )


def _draws(cases: int, settings: EvaluateSettings) -> NDArray[np.int64]:
    """[resamples, cases] positions, the same ones for the same seed."""
    generator = np.random.default_rng(settings.seed)
    return generator.integers(0, cases, size=(settings.resamples, cases))


def _difference(
    base: float, tuned: float, resampled: Floats, cases: int, settings: EvaluateSettings
) -> Difference:
    tail = (1 - settings.confidence) / 2 * 100
    low, high = (float(edge) for edge in np.percentile(resampled, [tail, 100 - tail]))
    return Difference(base, tuned, low, high, cases, cases >= MIN_CASES and (low > 0 or high < 0))
