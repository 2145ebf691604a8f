"""Who is in which arm of a trial, always the same, and whether the arms fill up as they should."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from undercroft.trials.bounds import log_likelihood_ratio

CANARY, CONTROL, REST = "canary", "control", "rest"


def point_of(salt: str, unit: str) -> float:
    """A number in [0, 1) that looks random, the same for the same unit of a trial."""
    digest = hashlib.sha256(f"{salt}\n{unit}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def arm_of(point: float, share: float) -> str:
    """The canary's ``share`` begins at 0 and the control's, as large, at 1: as shares grow up to
    a half each, units that are in an arm stay in it."""
    if point < share:
        return CANARY
    return CONTROL if point >= 1 - share else REST


def drawn(point: float, weights: Sequence[tuple[str, float]]) -> str:
    """One of the names, each as often as its weight is large."""
    left = point * sum(weight for _, weight in weights)
    for name, weight in weights:
        left -= weight
        if left < 0:
            return name
    return weights[-1][0]


def mismatch(counts: Mapping[str, int], expected: float = 0.5) -> float:
    """Log evidence that the canary does not get its ``expected`` share of what both arms get.

    Always valid (Lindon and Malek 2022, "Anytime-valid inference for multinomial count data"):
    above log(1/alpha) something other than chance fills the arms, and nothing that the trial says
    about its versions is to be believed.
    """
    canary, control = counts.get(CANARY, 0), counts.get(CONTROL, 0)
    return log_likelihood_ratio(canary, canary + control, expected)
