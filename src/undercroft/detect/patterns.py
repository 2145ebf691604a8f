"""Signs of one thing or another in running text: patterns, each with literals that it needs.

A text is searched once for the literals of all patterns, and around those it holds for the
patterns themselves. A finding is evidence,
not proof; what all findings of a family say together is `score`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from undercroft.detect.signs import Signs, folded
from undercroft.records import Finding

#: Of a long document only this much is read.
MAX_CHARS: Final = 200_000
_REACH: Final = 400  # characters from a pattern's sign to either of its ends, at most


@dataclass(frozen=True, slots=True)
class Pattern:
    """One way of saying it; ``signs``, of which the text must hold one, are in lower case."""

    kind: str
    name: str
    signs: tuple[str, ...]
    pattern: re.Pattern[str]
    score: float


def pattern(  # noqa: PLR0917
    family: str, kind: str, name: str, signs: str, expression: str, score: float
) -> Pattern:
    """The pattern ``expression``, in any case, with its ``signs`` as ``one, another``."""
    compiled = re.compile(expression, re.I)
    return Pattern(f"{family}.{kind}", name, tuple(signs.split(", ")), compiled, score)


class Patterns:
    """Several patterns, looked for together."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self._patterns = patterns
        self._signs = Signs([each.signs for each in patterns])

    def find(self, text: str) -> list[Finding]:
        """What they find in the first `MAX_CHARS` of ``text``, pattern by pattern."""
        text = text[:MAX_CHARS]
        places = self._signs.places(folded(text))
        return [
            Finding(each.kind, match.start(), match.end(), each.score, each.name)
            for number, each in enumerate(self._patterns)
            if number in places
            for first, last in _windows(places[number], len(text))
            for match in each.pattern.finditer(text, first, last)
        ]


def score(findings: Sequence[Finding], family: str) -> float:
    """How sure one is of what ``family`` looks for, 0 to 1: a noisy-or over its rules, each
    counted once."""
    best: dict[str, float] = {}
    for finding in findings:
        if finding.kind.startswith(f"{family}."):
            best[finding.rule] = max(best.get(finding.rule, 0.0), finding.score)
    missed = 1.0
    for value in best.values():
        missed *= 1.0 - value
    return 1.0 - missed


def _windows(places: Sequence[int], length: int) -> list[tuple[int, int]]:
    """The stretches around ``places`` in which a pattern can lie, in order, none overlapping."""
    windows: list[tuple[int, int]] = []
    for at in sorted(places):
        first, last = max(0, at - _REACH), min(length, at + _REACH)
        if windows and first <= windows[-1][1]:
            windows[-1] = (windows[-1][0], last)
        else:
            windows.append((first, last))
    return windows
