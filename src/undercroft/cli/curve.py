"""A curve on one line of a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

_BARS: Final = "▁▂▃▄▅▆▇█"
_POINTS: Final = 48


def curve(values: Sequence[float], points: int = _POINTS) -> str:
    """The finite of ``values`` as a line of bars, each the mean of its share of them."""
    finite = [value for value in values if math.isfinite(value)]
    count = min(points, len(finite))
    cuts = [round(part * len(finite) / count) for part in range(count + 1)] if count else []
    means = [sum(finite[a:b]) / (b - a) for a, b in pairwise(cuts)]
    low, high = min(means, default=0.0), max(means, default=0.0)
    height = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((mean - low) * height)] for mean in means)
