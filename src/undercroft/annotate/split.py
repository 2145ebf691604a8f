"""Which source files are kept away from training; decided before anything is made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def unit_hash(seed: int, *parts: str) -> float:
    """A number in [0, 1) that depends on nothing but ``seed`` and ``parts``."""
    text = "\x1f".join((str(seed), *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def held_out_groups(groups: Iterable[str], share: float, seed: int) -> frozenset[str]:
    """The groups to hold out: about ``share`` of them, at least one, never all.

    Each group's fate hangs on its own hash, so that new files do not move old ones across the
    line between training and evaluation. A single group cannot be divided and is not held out.
    """
    ranked = sorted(
        {group: unit_hash(seed, "held-out", group) for group in groups}.items(),
        key=lambda item: item[1],
    )
    if len(ranked) < 2:
        return frozenset()
    chosen = [group for group, value in ranked if value < share]
    chosen = chosen or [ranked[0][0]]
    return frozenset(chosen[: len(ranked) - 1])
