"""Texts -> measured columns. Signals say what a text is like; what that means is for the policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from undercroft.curate.compiled import Span, on_every_core

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_BYTES: Final = 4_000_000  # of texts measured together: scratch space stays small

#: Column of the documents table and of `kernels.measure`'s result.
MEASURED: Final = (
    ("num_chars", 0, "int32"),
    ("num_words", 1, "int32"),
    ("mean_word_length", 2, "float32"),
    ("symbol_ratio", 3, "float32"),
    ("duplicate_line_ratio", 4, "float32"),
    ("top_ngram_ratio", 5, "float32"),
)


@dataclass(frozen=True)
class Measured:
    """Signals of n texts: ``columns`` by name, and the hashes of their words, text after text,
    where text i has ``words[starts[i]:starts[i + 1]]``."""

    columns: dict[str, NDArray[Any]]
    words: NDArray[np.uint64]
    starts: NDArray[np.int64]


def measure(texts: pa.LargeStringArray, threads: int = 0) -> Measured:
    """Scan ``texts`` once, on every core unless ``threads`` says how many.

    The first call on a machine compiles the scan (2 to 3 s).
    """
    from undercroft.curate import kernels

    data, offsets = buffers(texts)
    count = len(texts)
    numbers = np.zeros((count, kernels.NUM_COLUMNS))

    def work(span: Span) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        first, last = span
        room = int(offsets[last] - offsets[first]) // 2 + (last - first) + 1
        found, begins = np.empty(room, np.uint64), np.empty(last - first + 1, np.int64)
        kernels.measure(data, offsets[first : last + 1], numbers[first:last], found, begins)
        return found[: begins[-1]].copy(), begins

    parts = on_every_core(work, batches(offsets, _BATCH_BYTES), threads)
    sizes = [np.diff(begins) for _, begins in parts]
    starts = np.concatenate([np.zeros(1, np.int64), *sizes]).cumsum()
    words = [found for found, _ in parts]
    columns = {name: numbers[:, at].astype(kind) for name, at, kind in MEASURED}
    return Measured(columns, np.concatenate(words) if words else np.empty(0, np.uint64), starts)


def shares(measured: Measured, words: frozenset[str]) -> NDArray[np.float64]:
    """The share of each text's words that are among ``words``, float64 [n]; 0 of an empty text."""
    known = np.sort(hashes_of(words))
    at = np.minimum(np.searchsorted(known, measured.words), len(known) - 1)
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(known[at] == measured.words)])
    counts = np.diff(measured.starts)
    return np.diff(sums[measured.starts]) / np.maximum(counts, 1)


def hashes_of(words: Iterable[str]) -> NDArray[np.uint64]:
    """The hash of each of ``words``, of letters and digits alone, as it has in texts."""
    import pyarrow as pa

    return measure(pa.array([" ".join(words)], pa.large_string()), threads=1).words


def buffers(texts: pa.LargeStringArray) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The bytes of ``texts`` and where each begins, without copying either."""
    _, offsets, data = texts.buffers()
    places = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data or b"", np.uint8), places


def batches(offsets: NDArray[np.int64], size_bytes: int) -> Iterator[tuple[int, int]]:
    """Ranges of texts of about ``size_bytes`` together, one text at least."""
    first, total = 0, len(offsets) - 1
    while first < total:
        last = int(np.searchsorted(offsets, offsets[first] + size_bytes, side="right")) - 1
        last = min(max(last, first + 1), total)
        yield first, last
        first = last
