"""What a row says, as 16 bytes: whether two rows are the same, and whether one was changed since.

The digest is the first half of the SHA-256 of the row's columns in canonical JSON. Finding another
row with the digest of a given one takes 2^128 tries.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from undercroft.lake.schemas import DIGEST

COLUMN: Final = "digest"
_BATCH_ROWS: Final = 1024


def digests(rows: pa.Table | pa.RecordBatch) -> pa.Array:
    """The digest of every row of ``rows`` over all its columns but `COLUMN`."""
    return pa.array(_digests(rows), DIGEST)


def with_digests(rows: pa.Table) -> pa.Table:
    """``rows`` with `COLUMN` computed."""
    if COLUMN in rows.column_names:
        rows = rows.drop_columns([COLUMN])
    return rows.append_column(pa.field(COLUMN, DIGEST), digests(rows))


def _digests(rows: pa.Table | pa.RecordBatch) -> Iterator[bytes]:
    for start in range(0, rows.num_rows, _BATCH_ROWS):
        for row in rows.slice(start, _BATCH_ROWS).to_pylist():
            row.pop(COLUMN, None)
            text = json.dumps(row, sort_keys=True, ensure_ascii=False, default=str)
            yield hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]
