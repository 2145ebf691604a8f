"""Nearest chunks by cosine: in memory where they fit, in Lance where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from undercroft.retrieve.embed import Matrix

#: Up to here one product with all vectors (50 MB at 256 dimensions) costs less than 3 ms.
RESIDENT_CHUNKS = 50_000
COLUMNS = ["id", "document", "uri", "title", "text", "start", "end"]


class Vectors(Protocol):
    """The vectors and fields of the chunks of one table version, by row id."""

    def __len__(self) -> int: ...

    def nearest(self, vector: Matrix, limit: int) -> dict[int, float]:
        """Row ids and cosines of the ``limit`` chunks nearest to the unit ``vector`` [dim]."""
        ...

    def cosines(self, vector: Matrix, rows: Sequence[int]) -> dict[int, float]:
        """Cosines of the chunks ``rows`` with the unit ``vector``."""
        ...

    def take(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """The `COLUMNS` of the chunks ``rows``, in that order."""
        ...


def open_vectors(dataset: lance.LanceDataset) -> Vectors:
    """Vectors of ``dataset``, held in memory up to `RESIDENT_CHUNKS` chunks."""
    return Resident(dataset) if dataset.count_rows() <= RESIDENT_CHUNKS else Stored(dataset)


class Resident:
    """Everything in memory: ``vectors`` [chunks, dim] float32 and the fields as Arrow."""

    def __init__(self, dataset: lance.LanceDataset) -> None:
        table = dataset.to_table(columns=[*COLUMNS, "vector"], with_row_id=True)
        self._rows = table["_rowid"].to_numpy()
        self._position = {int(row): at for at, row in enumerate(self._rows)}
        self._fields = table.select(COLUMNS).combine_chunks()
        self._vectors = _matrix(table["vector"])

    def __len__(self) -> int:
        return len(self._rows)

    def nearest(self, vector: Matrix, limit: int) -> dict[int, float]:
        cosines = self._vectors @ vector
        limit = min(limit, len(cosines))
        best = np.argpartition(-cosines, limit - 1)[:limit]
        return {int(self._rows[at]): float(cosines[at]) for at in best}

    def cosines(self, vector: Matrix, rows: Sequence[int]) -> dict[int, float]:
        found = self._vectors[[self._position[row] for row in rows]] @ vector
        return dict(zip(rows, found.tolist(), strict=True))

    def take(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        positions = [self._position[row] for row in rows]
        return [{name: self._fields[name][at].as_py() for name in COLUMNS} for at in positions]


class Stored:
    """Everything on disk, behind Lance's vector index."""

    def __init__(self, dataset: lance.LanceDataset) -> None:
        self._dataset = dataset
        self._count = int(dataset.count_rows())

    def __len__(self) -> int:
        return self._count

    def nearest(self, vector: Matrix, limit: int) -> dict[int, float]:
        query = {"column": "vector", "q": vector, "k": limit, "metric": "cosine", "nprobes": 20}
        found = self._dataset.to_table(columns=["_rowid", "_distance"], nearest=query)
        distances = found["_distance"].to_pylist()
        rows = found["_rowid"].to_pylist()
        return {row: 1.0 - distance for row, distance in zip(rows, distances, strict=True)}

    def cosines(self, vector: Matrix, rows: Sequence[int]) -> dict[int, float]:
        found = self._fetch(rows, ["vector"])
        return dict(zip(rows, (_matrix(found["vector"]) @ vector).tolist(), strict=True))

    def take(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._fetch(rows, COLUMNS).to_pylist()
        return found

    def _fetch(self, rows: Sequence[int], columns: list[str]) -> pa.Table:
        """``columns`` of ``rows``, in that order."""
        if not rows:
            return self._dataset.schema.empty_table().select(columns)
        listed = ", ".join(str(int(row)) for row in rows)
        found = self._dataset.to_table(
            columns=[*columns, "_rowid"], filter=f"_rowid IN ({listed})", use_scalar_index=False
        )
        order = pc.index_in(pa.array(rows, pa.uint64()), value_set=found["_rowid"].combine_chunks())
        return found.take(order).select(columns)


def _matrix(column: Any) -> Matrix:
    flat = column.combine_chunks()
    dimensions = flat.type.list_size
    values: Matrix = flat.flatten().to_numpy().astype(np.float32, copy=False)
    return values.reshape(-1, dimensions)
