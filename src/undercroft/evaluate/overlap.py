"""The longest run of words that one text has verbatim in common with a body of others.

Runs of n words are compared by their polynomial hashes, all at once, and a match is looked at word
by word before it counts; the longest n is found by halving, since a run of n words holds one of
n - 1. A text of w words against a body of N costs about N log w log N, without an index to keep.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\w+|[^\w\s]")
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2^64
_INVERSE = np.uint64(pow(int(_BASE), -1, 2**64))

Words = NDArray[np.int64]
Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Run:
    """``words`` in a row, from word ``start`` of the text; found in text ``source`` of the body."""

    words: int
    start: int
    source: int


class Body:
    """Texts that others are held against. Words are read without case; signs are words too."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._ids: dict[str, int] = {}
        pieces: list[Words] = []
        for number, text in enumerate(texts):
            found = [self._ids.setdefault(word, len(self._ids)) for word in words_of(text)]
            pieces.append(np.array([*found, -number - 1], np.int64))  # no run crosses an end
        self._words = np.concatenate(pieces) if pieces else np.array([], np.int64)
        self._ends = np.flatnonzero(self._words < 0)
        self._sums, self._inverses = _prefix_sums(self._words)

    def longest(self, text: str) -> Run:
        """Of the runs of ``text`` that are in the body the longest, and the first of those."""
        words = self._read(text)
        sums, inverses = _prefix_sums(words)
        best, low, high = Run(0, 0, 0), 0, len(words)
        while low < high:
            size = (low + high + 1) // 2
            theirs = _hashes(self._sums, self._inverses, size)
            found = self._match(words, _hashes(sums, inverses, size), theirs, size)
            if found is None:
                high = size - 1
            else:
                low, best = size, found
        return best

    def _read(self, text: str) -> Words:
        """Words that the body does not have are unlike all in it."""
        unknown = -len(self._ends) - 1
        return np.array([self._ids.get(word, unknown) for word in words_of(text)], np.int64)

    def _match(self, words: Words, ours: Hashes, theirs: Hashes, size: int) -> Run | None:
        order = np.argsort(ours, kind="stable")
        at = np.searchsorted(ours[order], theirs)
        is_met = at < len(ours)
        is_met[is_met] = ours[order[at[is_met]]] == theirs[is_met]
        places = np.flatnonzero(is_met)
        starts = order[at[places]]
        for number in np.argsort(starts, kind="stable"):
            start, place = int(starts[number]), int(places[number])
            if np.array_equal(words[start : start + size], self._words[place : place + size]):
                return Run(size, start, int(np.searchsorted(self._ends, place)))
        return None


def words_of(text: str) -> Sequence[str]:
    return _WORD.findall(text.casefold())


def _prefix_sums(words: Words) -> tuple[Hashes, Hashes]:
    """Sums of words times powers of the base, [N + 1], and the inverse powers, modulo 2^64."""
    powers = _powers(_BASE, len(words) + 1)
    mixed = words.astype(np.uint64) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(31)  # so that neighbouring ids are far apart
    sums = np.zeros(len(words) + 1, np.uint64)
    np.cumsum(mixed * powers[:-1], out=sums[1:])
    return sums, _powers(_INVERSE, len(words) + 1)


def _powers(base: np.uint64, count: int) -> Hashes:
    found = np.full(count, base, np.uint64)
    found[0] = 1
    return np.cumprod(found, dtype=np.uint64)


def _hashes(sums: Hashes, inverses: Hashes, size: int) -> Hashes:
    """Of every run of ``size`` words."""
    if size >= len(sums):
        return np.array([], np.uint64)
    found: Hashes = (sums[size:] - sums[:-size]) * inverses[: len(sums) - size]
    return found
