"""Lines or paragraphs that many documents share: they stay in one and are cut from the others.

Headers, footers and notices are not told by any one document, only by many. A unit is cut where it
has 40 letters and digits at least and stands in as many documents as the settings say; it stays in
the document whose address is shortest, then first in the alphabet, so the result depends neither on
order nor on shards. Only documents that the policy keeps count. One of which nothing would be left
says nothing of its own and is removed.

Units are compared by 56 bits of a hash: among 10 million different ones about one pair meets with a
chance of 1 in 1,400. The pass holds 24 bytes for each unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from undercroft.curate.lines import paragraphs, sizes

if TYPE_CHECKING:
    from undercroft.lake import Table

Unit = Literal["lines", "paragraphs"]
SHORTEST: Final = 40  # letters and digits; shorter units recur by nature
_BATCH_ROWS: Final = 2_000


@dataclass(frozen=True)
class Cuts:
    """What is cut of each document, as (start, end) in characters, by id; ``emptied`` are those of
    which nothing would be left."""

    spans: Mapping[str, list[tuple[int, int]]]
    emptied: frozenset[str]

    @property
    def chars(self) -> int:
        return sum(end - start for spans in self.spans.values() for start, end in spans)


@dataclass(frozen=True)
class _Units:
    """n units: what each says, the row of its document, its first line and one past its last."""

    numbers: NDArray[np.uint64]
    rows: NDArray[np.int64]
    first: NDArray[np.int32]
    last: NDArray[np.int32]

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> _Units:
        return _Units(
            self.numbers[chosen], self.rows[chosen], self.first[chosen], self.last[chosen]
        )


def cuts(table: Table, version: int, kept: NDArray[np.bool_], unit: Unit, documents: int) -> Cuts:
    """What is to be cut of the ``kept`` documents of ``version``, given in the table's order: units
    that stand in ``documents`` of them at least."""
    names = table.read(["id", "uri"], version=version)
    units = _units(table, version, kept, unit)
    repeated = units.take(_repeated(units, _ranks(names["uri"]), documents))
    spans: dict[str, list[tuple[int, int]]] = {}
    emptied: list[str] = []
    for document, text, own in _texts(table, version, names["id"], repeated):
        spans[document] = _places(text, own)
        if not _remains(text, spans[document]):
            emptied.append(document)
    for document in emptied:
        del spans[document]
    return Cuts(spans, frozenset(emptied))


def _units(table: Table, version: int, kept: NDArray[np.bool_], unit: Unit) -> _Units:
    """The units of the kept documents that are long enough."""
    parts: list[_Units] = []
    at = 0
    for batch in table.batches(["lines"], version=version, rows=_BATCH_ROWS):
        rows = np.flatnonzero(kept[at : at + batch.num_rows])
        lines = [line or b"" for line in batch["lines"].take(pa.array(rows)).to_pylist()]
        numbers = np.frombuffer(b"".join(lines), np.uint64)
        ends = np.cumsum([len(line) // 8 for line in lines], dtype=np.int64)
        found = _lines(numbers, ends) if unit == "lines" else _Units(*paragraphs(numbers, ends))
        found = found.take(sizes(found.numbers) >= SHORTEST)
        parts.append(_Units(found.numbers, rows[found.rows] + at, found.first, found.last))
        at += batch.num_rows
    names = ("numbers", "rows", "first", "last")
    return _Units(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _lines(numbers: NDArray[np.uint64], ends: NDArray[np.int64]) -> _Units:
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    rows = np.repeat(np.arange(len(ends)), ends - starts)
    first = (np.arange(len(numbers)) - starts[rows]).astype(np.int32)
    return _Units(numbers, rows, first, first + np.int32(1))


def _repeated(units: _Units, ranks: NDArray[np.int64], documents: int) -> NDArray[np.int64]:
    """The places of the units that go: of each that is in enough documents all but the first."""
    order = np.lexsort((units.first, ranks[units.rows], units.numbers))
    numbers, rows = units.numbers[order], units.rows[order]
    is_first = np.concatenate([np.ones(1, np.bool_), numbers[1:] != numbers[:-1]])[: len(numbers)]
    is_other = is_first | np.concatenate([np.ones(1, np.bool_), rows[1:] != rows[:-1]])[: len(rows)]
    group = np.cumsum(is_first) - 1
    counts = np.bincount(group, weights=is_other)
    return order[(counts[group] >= documents) & ~is_first] if len(order) else order


def _ranks(uris: pa.ChunkedArray) -> NDArray[np.int64]:
    """The place of each document by the length of its address, then by the alphabet."""
    table = pa.table({"length": pc.utf8_length(uris), "uri": uris})
    order = pc.sort_indices(table, [("length", "ascending"), ("uri", "ascending")]).to_numpy()
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return ranks


def _texts(
    table: Table, version: int, ids: pa.ChunkedArray, units: _Units
) -> Iterator[tuple[str, str, list[tuple[int, int]]]]:
    """Id, text and cut lines of each document that has some."""
    order = np.lexsort((units.first, units.rows))
    rows, starts = np.unique(units.rows[order], return_index=True)
    spans = list(zip(units.first[order].tolist(), units.last[order].tolist(), strict=True))
    ends = [*starts[1:].tolist(), len(spans)]
    for first in range(0, len(rows), _BATCH_ROWS):
        part = slice(first, first + _BATCH_ROWS)
        texts = table.take(rows[part].tolist(), ["text"], version)["text"].to_pylist()
        names = ids.take(pa.array(rows[part])).to_pylist()
        for name, text, a, b in zip(names, texts, starts[part], ends[part], strict=True):
            yield name, text, spans[a:b]


def _places(text: str, lines: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Where ``lines`` (first, one past the last) stand in ``text``, with their line ends."""
    starts = [0]
    at = text.find("\n")
    while at >= 0:
        starts.append(at + 1)
        at = text.find("\n", at + 1)
    starts.append(len(text))
    return [(starts[first], starts[min(last, len(starts) - 1)]) for first, last in lines]


def _remains(text: str, spans: list[tuple[int, int]]) -> bool:
    done = 0
    for start, end in spans:
        if text[done:start].strip():
            return True
        done = end
    return bool(text[done:].strip())
