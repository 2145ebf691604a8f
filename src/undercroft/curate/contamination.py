"""Evaluation items -> the documents that hold one of them, so that no model is trained on its exam.

A document is contaminated by an item if it holds 13 words of it in a row (Brown et al. 2020,
appendix C), or all of an item of 8 to 12 words; words are compared as for near duplicates. Shorter
items say too little, and are counted but not looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from undercroft.curate.signals import measure
from undercroft.errors import StageFailed

if TYPE_CHECKING:
    import pyarrow as pa

    from undercroft.lake import Table

LONGEST: Final = 13
SHORTEST: Final = 8
_BATCH_ROWS: Final = 512
_BASE: Final = np.uint64(0x9E3779B97F4A7C15)  # odd: multiplying by it loses nothing
_PLANTED: Final = "planted for the check alone: nobody ever wrote these very words in this order"


@dataclass(frozen=True)
class Items:
    """What evaluation suites ask and expect: the hashes of runs of words, sorted, and the item
    each is of, by how many words they have."""

    names: Sequence[str]
    hashes: dict[int, tuple[NDArray[np.uint64], NDArray[np.int64]]]
    num_short: int

    @classmethod
    def of(cls, texts: Sequence[tuple[str, str]]) -> Items:
        """Of named texts."""
        import pyarrow as pa

        texts = [*texts, ("planted", _PLANTED)]
        measured = measure(pa.array([text for _, text in texts], pa.large_string()), threads=1)
        found: dict[int, list[tuple[NDArray[np.uint64], int]]] = {}
        num_short = 0
        for item in range(len(texts)):
            words = measured.words[measured.starts[item] : measured.starts[item + 1]]
            length = min(len(words), LONGEST)
            num_short += length < SHORTEST
            if length >= SHORTEST:
                found.setdefault(length, []).append((_runs(words, length), item))
        return cls(
            [name for name, _ in texts], {n: _sorted(f) for n, f in found.items()}, num_short
        )

    def in_texts(self, texts: pa.LargeStringArray) -> list[str]:
        """The name of the first item found in each text; empty where there is none."""
        measured = measure(texts)
        first = np.full(len(texts), len(self.names), np.int64)
        for length, (hashes, items) in self.hashes.items():
            runs = _runs(measured.words, length)
            at = np.minimum(np.searchsorted(hashes, runs), len(hashes) - 1)
            hits = np.flatnonzero(hashes[at] == runs)
            rows = np.searchsorted(measured.starts, hits, side="right") - 1
            is_within = hits + length <= measured.starts[rows + 1]  # not across two texts
            np.minimum.at(first, rows[is_within], items[at[hits[is_within]]])
        return [self.names[at] if at < len(self.names) else "" for at in first.tolist()]

    def check(self) -> None:
        """Raise `StageFailed` unless an item put into a text is found there."""
        import pyarrow as pa

        texts = pa.array(
            ["nothing", f"Before it. {_PLANTED.upper()}, and more."], pa.large_string()
        )
        if self.in_texts(texts) != ["", "planted"]:
            raise StageFailed(
                "The planted evaluation item was not found.",
                "Decontamination does not work here, so its result cannot be trusted.",
                "Please report this with the output of: undercroft doctor",
            )


def contaminated(table: Table, version: int, items: Items) -> list[str]:
    """The item found in each document of ``version`` of the documents table, in its order."""
    items.check()
    found: list[str] = []
    for batch in table.batches(["text"], version=version, rows=_BATCH_ROWS):
        found += items.in_texts(batch["text"].cast("large_string"))
    return found


def _runs(words: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
    """The hash of every run of ``length`` words, by where it begins."""
    count = max(len(words) - length + 1, 0)
    runs = np.zeros(count, np.uint64)
    for at in range(length):
        runs = runs * _BASE + words[at : at + count]
    return runs


def _sorted(
    found: Sequence[tuple[NDArray[np.uint64], int]],
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    hashes = np.concatenate([runs for runs, _ in found])
    items = np.concatenate([np.full(len(runs), item) for runs, item in found])
    hashes, first = np.unique(hashes, return_index=True)
    return hashes, items[first]
