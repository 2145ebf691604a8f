"""Signs of one thing or another in running text: patterns, each with a cheap sign before it.

Most texts hold none of the literal signs, and are searched for those alone. A finding is evidence,
not proof; what all findings of a family say together is `score`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

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


def find(text: str, patterns: Iterable[Pattern]) -> list[Finding]:
    """What ``patterns`` find in the first `MAX_CHARS` of ``text``, pattern by pattern."""
    text = text[:MAX_CHARS]
    lowered = text.lower()
    return [
        Finding(each.kind, match.start(), match.end(), each.score, each.name)
        for each in patterns
        for first, last in _windows(lowered, each.signs, len(text))
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


def _windows(lowered: str, signs: Sequence[str], length: int) -> list[tuple[int, int]]:
    """The stretches around ``signs`` in which a pattern can lie, in order, none overlapping."""
    if len(lowered) != length:  # a few capitals grow when lowered; positions would be off
        return [(0, length)] if any(sign in lowered for sign in signs) else []
    places: list[int] = []
    for sign in signs:
        at = lowered.find(sign)
        while at >= 0:
            places.append(at)
            at = lowered.find(sign, at + _REACH // 4)
    windows: list[tuple[int, int]] = []
    for at in sorted(places):
        first, last = max(0, at - _REACH), min(length, at + _REACH)
        if windows and first <= windows[-1][1]:
            windows[-1] = (windows[-1][0], last)
        else:
            windows.append((first, last))
    return windows
