"""Documents whose band keys meet -> groups in which duplicates are looked for.

Groups are the connected parts of "shares a key with", so documents of different groups are never
compared. What a group consists of is summed up in its fingerprint: a group that a later run finds
again with the same fingerprint has the same members with the same texts, and so the same
duplicates. New data costs the work of the groups it falls into, and a pass over the keys.

The pass sorts n keys for each band: 112 bytes a document are held, and about 2 µs of one core.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from undercroft.curate.bands import BANDS, NGRAM, band_keys

if TYPE_CHECKING:
    import pyarrow as pa

#: Raised when groups or what is done in them change: earlier findings then count no more.
_VERSION: Final = 1
#: So many texts sharing one key are of one template rather than copies of each other.
TEMPLATE_BUCKET: Final = 1_000


@dataclass(frozen=True)
class Corpus:
    """n documents as duplicates are looked for among them.

    ``ids`` are those of the documents as numbers, ``names`` their addresses, ``sha256`` that of
    their texts in hex, ``bands`` uint64 [n, BANDS].
    """

    ids: NDArray[np.uint64]
    names: pa.StringArray
    sha256: pa.StringArray
    bands: NDArray[np.uint64]
    num_chars: NDArray[np.int32]
    num_words: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, texts: dict[str, str]) -> Corpus:
        """The corpus of ``texts`` by name."""
        import pyarrow as pa

        from undercroft.curate.signals import measure

        measured = measure(pa.array(texts.values(), pa.large_string()))
        return cls(
            heads([_sha256(name) for name in texts]),
            pa.array(texts.keys(), pa.string()),
            pa.array([_sha256(text) for text in texts.values()]),
            band_keys(measured.words, measured.starts),
            measured.columns["num_chars"],
            measured.columns["num_words"],
        )

    @classmethod
    def from_rows(cls, rows: pa.Table) -> Corpus:
        """The corpus of rows of the documents table."""
        keys = rows["bands"].combine_chunks()
        first = keys.offset
        return cls(
            heads(rows["id"].to_pylist()),
            rows["uri"].combine_chunks(),
            rows["sha256"].combine_chunks(),
            np.frombuffer(keys.buffers()[1], np.uint64).reshape(-1, BANDS)[
                first : first + len(keys)
            ],
            rows["num_chars"].to_numpy(),
            rows["num_words"].to_numpy(),
        )

    def followed_by(self, other: Corpus) -> Corpus:
        """This corpus and then ``other``."""
        import pyarrow as pa

        joined: dict[str, Any] = {
            name: np.concatenate([getattr(self, name), getattr(other, name)])
            for name in ("ids", "bands", "num_chars", "num_words")
        }
        for name in ("names", "sha256"):
            joined[name] = pa.concat_arrays([getattr(self, name), getattr(other, name)])
        return Corpus(**joined)


@dataclass(frozen=True)
class Groups:
    """For each document the index of the first of its group (int32 [n]), what the group consists
    of (uint64 [n]), and how many documents the fullest bucket holds."""

    first: NDArray[np.int32]
    fingerprints: NDArray[np.uint64]
    largest_bucket: int

    def sizes(self) -> NDArray[np.int64]:
        """How many documents the group of each holds, int64 [n]; 1 means that it is alone."""
        counts: NDArray[np.int64] = np.bincount(self.first, minlength=len(self.first))
        return counts[self.first]


def group(corpus: Corpus, left_out: NDArray[np.bool_], threshold: float) -> Groups:
    """The groups of ``corpus``; those ``left_out`` or too short to compare are alone."""
    from undercroft.curate import kernels

    chosen = np.flatnonzero(~left_out & (corpus.num_words >= NGRAM))
    parents = np.arange(len(chosen), dtype=np.int32)
    largest = 1
    for band in range(BANDS):
        keys = np.ascontiguousarray(corpus.bands[chosen, band])
        order = np.argsort(keys, kind="stable")
        largest = max(largest, int(kernels.connect(keys, order, parents)))
    kernels.settle(parents)
    first = np.arange(len(corpus), dtype=np.int32)
    first[chosen] = chosen[parents]
    salt = heads([_sha256(f"{_VERSION} {threshold!r}")])[0]
    digests = heads(corpus.sha256.to_pylist())
    return Groups(first, kernels.fingerprints(corpus.ids, digests, first, salt), largest)


def heads(hexadecimal: Sequence[str]) -> NDArray[np.uint64]:
    """The first 16 hex digits of each as a number."""
    digits = "".join(each[:16] for each in hexadecimal)
    return np.frombuffer(bytes.fromhex(digits), ">u8").astype(np.uint64)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
