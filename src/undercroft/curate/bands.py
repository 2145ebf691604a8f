"""MinHash band keys: texts that share one may be alike, and only those are compared.

The sketch is over runs of 5 words in 14 bands of 8 rows (the setting of FineWeb, Penedo et al.
2024): a pair of Jaccard 0.8 shares a band with probability 0.92. A band is kept as one 64-bit key,
112 bytes a text, in the column ``bands`` of the documents table. A key says nothing by itself;
texts are compared with all that was seen before by reading this column, never the texts again.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from undercroft.curate.compiled import Span, on_every_core
from undercroft.curate.signals import batches

NGRAM: Final = 5
BANDS: Final = 14
ROWS: Final = 8
_SEED: Final = 20
_BATCH_WORDS: Final = 500_000


def band_keys(
    words: NDArray[np.uint64], starts: NDArray[np.int64], threads: int = 0
) -> NDArray[np.uint64]:
    """The keys, uint64 [n, `BANDS`], of texts given by their word hashes (`signals.Measured`).

    Those of a text with fewer words than `NGRAM` mean nothing. ``threads`` 0 takes every core.
    """
    from undercroft.curate import kernels

    permutations = _permutations()

    def work(span: Span) -> NDArray[np.uint64]:
        begins = starts[span[0] : span[1] + 1]
        keys: NDArray[np.uint64] = kernels.band_keys(words, begins, NGRAM, permutations, BANDS)
        return keys

    parts = on_every_core(work, batches(starts, _BATCH_WORDS), threads)
    return np.concatenate(parts) if parts else np.empty((0, BANDS), np.uint64)


@cache
def _permutations() -> NDArray[np.uint64]:
    """Odd multipliers and addends of the 112 hash functions, uint64 [2, 112]; always the same."""
    rng = np.random.Generator(np.random.PCG64(_SEED))
    drawn = rng.integers(0, 2**64, size=(2, BANDS * ROWS), dtype=np.uint64)
    drawn[0] |= np.uint64(1)
    return drawn
