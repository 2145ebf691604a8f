"""Published policies over the measures: which texts they keep, and by which rule the rest go.

The thresholds are those of datatrove's filters, whose order of rules is kept: the first that holds
names the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from undercroft.curate.heuristics.measures import COLUMNS

Measures = NDArray[np.float64]
_AT: Final = {name: number for number, name in enumerate(COLUMNS)}


@dataclass(frozen=True, slots=True)
class Limit:
    """Texts whose ``column`` is above ``most`` or below ``least`` go."""

    column: str
    most: float = np.inf
    least: float = -np.inf

    def holds(self, measures: Measures) -> NDArray[np.bool_]:
        values = measures[:, _AT[self.column]]
        out: NDArray[np.bool_] = (values > self.most) | (values < self.least)
        return out


GOPHER_REPETITION: Final = (
    Limit("repeated_paragraphs", 0.3),
    Limit("repeated_paragraph_chars", 0.2),
    Limit("repeated_lines", 0.3),
    Limit("repeated_line_chars", 0.2),
    *(Limit(f"top_{n}gram", most) for n, most in ((2, 0.2), (3, 0.18), (4, 0.16))),
    *(Limit(f"repeated_{n}gram", round(0.2 - 0.01 * n, 2)) for n in range(5, 11)),
)
GOPHER_QUALITY: Final = (
    Limit("spoken_words", 100_000, 50),
    Limit("mean_spoken_length", 10, 3),
    Limit("hash_ratio", 0.1),
    Limit("ellipsis_ratio", 0.1),
    Limit("bullet_lines", 0.9),
    Limit("ellipsis_lines", 0.3),
    Limit("letter_words", least=0.8),
    Limit("stop_words", least=2),
)
C4: Final = (Limit("c4_banned", 0), Limit("c4_sentences", least=5))
FINEWEB: Final = (
    Limit("punctuated_lines", least=0.12),
    Limit("short_lines", 0.67),
    Limit("repeated_text_lines", 0.01),
    Limit("newlines_per_word", 0.3),
)
POLICIES: Final[Mapping[str, Sequence[Limit]]] = {
    "gopher_repetition": GOPHER_REPETITION,
    "gopher_quality": GOPHER_QUALITY,
    "c4": C4,
    "fineweb": FINEWEB,
}


def reasons(measures: Measures, limits: Sequence[Limit]) -> NDArray[Any]:
    """For each text the column of the first limit that it breaks, "" where it breaks none."""
    found = np.full(len(measures), "", dtype=object)
    for limit in reversed(limits):
        found[limit.holds(measures)] = limit.column
    return found
