"""Texts that say the same: exact copies, and near ones whose likeness is verified.

Candidates come from MinHash over runs of 5 words in 14 bands of 8 rows (the setting of FineWeb,
Penedo et al. 2024: a pair of Jaccard 0.8 shares a band with probability 0.92). A shared band is
only a hint: a text is a duplicate when its exact Jaccard with the text that stays reaches the
threshold, or when all its runs of words stand in that text. Nothing is removed for being like
something that is itself removed, so likeness does not chain.

Which text stays does not depend on the order they come in: the longest, and of equals the one
whose name (its address) is shortest, then first in the alphabet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from undercroft.curate.compiled import Span, on_every_core
from undercroft.curate.signals import batches

NGRAM: Final = 5
BANDS: Final = 14
ROWS: Final = 8
_SEED: Final = 20
#: Texts of one template crowd into a bucket; each is compared with this many of them at most.
MAX_COMPARED: Final = 64
_BATCH_WORDS: Final = 500_000


@dataclass(frozen=True, slots=True)
class Near:
    """Text ``original`` (an index) stays for this one; how alike they are.

    ``containment`` is the share of this text's runs of words that the original has too.
    """

    original: int
    jaccard: float
    containment: float


def exact(texts: Sequence[str], names: Sequence[str]) -> tuple[list[str], list[int | None]]:
    """SHA-256 of each text, and for each copy the index of the one that stays."""
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    first: dict[str, int] = {}
    for index in sorted(range(len(names)), key=lambda each: _rank(names[each])):
        first.setdefault(digests[index], index)
    originals = [None if first[d] == i else first[d] for i, d in enumerate(digests)]
    return digests, originals


def near(
    words: NDArray[np.uint64],
    starts: NDArray[np.int64],
    *,
    names: Sequence[str],
    lengths: Sequence[int],
    threshold: float,
    left_out: Sequence[bool] | None = None,
) -> dict[int, Near]:
    """The near duplicates among texts given by their word hashes (`signals.Measured`), by index.

    ``lengths`` are in characters; texts that are ``left_out`` (exact copies) neither stay nor go.
    """
    keys = _band_keys(words, starts)
    shingles = _Shingles(words, starts)
    buckets: list[dict[int, list[int]]] = [{} for _ in range(BANDS)]
    found: dict[int, Near] = {}
    for index in sorted(range(len(names)), key=lambda i: (-lengths[i], _rank(names[i]))):
        is_short = starts[index + 1] - starts[index] < NGRAM
        if is_short or (left_out is not None and left_out[index]):
            continue
        row = keys[index].tolist()
        candidates = {
            each for bucket, key in zip(buckets, row, strict=True) for each in bucket.get(key, ())
        }
        best = _best(index, candidates, shingles, names, threshold)
        if best is not None:
            found[index] = best
            continue
        for bucket, key in zip(buckets, row, strict=True):
            stayed = bucket.setdefault(key, [])
            if len(stayed) < MAX_COMPARED:
                stayed.append(index)
    return found


def _band_keys(words: NDArray[np.uint64], starts: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The MinHash keys of every text, uint64 [n, BANDS]."""
    from undercroft.curate import kernels

    permutations = _permutations()

    def work(span: Span) -> NDArray[np.uint64]:
        begins = starts[span[0] : span[1] + 1]
        keys: NDArray[np.uint64] = kernels.band_keys(words, begins, NGRAM, permutations, BANDS)
        return keys

    parts = on_every_core(work, batches(starts, _BATCH_WORDS))
    return np.concatenate(parts) if parts else np.empty((0, BANDS), np.uint64)


def _best(
    index: int, candidates: set[int], shingles: _Shingles, names: Sequence[str], threshold: float
) -> Near | None:
    """The most alike of the candidates that really are alike."""
    verified: list[Near] = []
    for candidate in candidates:
        jaccard, containment = shingles.compare(index, candidate)
        if jaccard >= threshold or containment >= 1.0:
            verified.append(Near(candidate, jaccard, containment))
    return min(
        verified, key=lambda each: (-each.jaccard, _rank(names[each.original])), default=None
    )


def _rank(name: str) -> tuple[int, str]:
    return len(name), name


class _Shingles:
    """The sets of runs of words, made when a text is first compared."""

    def __init__(self, words: NDArray[np.uint64], starts: NDArray[np.int64]) -> None:
        self._words = words
        self._starts = starts
        self._sets: dict[int, NDArray[np.uint64]] = {}

    def compare(self, one: int, other: int) -> tuple[float, float]:
        """Jaccard of both, and the share of ``one`` that ``other`` contains."""
        a, b = self._of(one), self._of(other)
        common = len(np.intersect1d(a, b, assume_unique=True))
        return common / (len(a) + len(b) - common), common / len(a)

    def _of(self, index: int) -> NDArray[np.uint64]:
        from undercroft.curate import kernels

        if index not in self._sets:
            words = self._words[self._starts[index] : self._starts[index + 1]]
            self._sets[index] = np.unique(kernels.shingles(words, NGRAM))
        return self._sets[index]


def _permutations() -> NDArray[np.uint64]:
    """Odd multipliers and addends of the 112 hash functions, uint64 [2, 112]; always the same."""
    rng = np.random.Generator(np.random.PCG64(_SEED))
    drawn = rng.integers(0, 2**64, size=(2, BANDS * ROWS), dtype=np.uint64)
    drawn[0] |= np.uint64(1)
    return drawn
