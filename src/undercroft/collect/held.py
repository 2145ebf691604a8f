"""What the table ``raw`` holds already, without the payloads: some 150 bytes a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from undercroft.collect.documents import Known, Unchanged, document_id

if TYPE_CHECKING:
    import pyarrow as pa

    from undercroft.lake.table import Table

Keys = npt.NDArray[np.uint64]

#: What the writer and the sources ask for; the rest of a row is in its digest, ``content``.
_COLUMNS: Final = (
    *("id", "source", "uri", "file", "consent", "etag", "last_modified", "status", "mime"),
    "content",
)
_REPEATED: Final = ("source", "file", "consent", "status", "mime")


class Held:
    """The rows of a table by document and by file, and which of them were seen again.

    Keys are ids read as 64-bit numbers (16 hex digits), of a file those of its address.
    """

    def __init__(self, rows: pa.Table) -> None:
        for name in _REPEATED:
            at = rows.column_names.index(name)
            rows = rows.set_column(at, name, rows[name].dictionary_encode())
        keys = _keys(rows["id"].to_pylist())
        order = np.argsort(keys)
        self.keys: Keys = keys[order]
        self.rows = rows.drop_columns(["id"]).take(order).combine_chunks()
        self.etags: pa.Array = self.rows["etag"].combine_chunks()
        self.contents: pa.Array = self.rows["content"].combine_chunks()
        self.sources: pa.Array = self.rows["source"].combine_chunks()
        files = _file_keys(self.rows["file"])
        self._by_file = _Places(files, np.arange(len(files)))
        self._stamped = _Places(files, np.flatnonzero(np.asarray(_has_some(self.etags))))
        self.is_seen = np.zeros(len(self.keys), bool)

    @classmethod
    def of(cls, table: Table) -> Held:
        """What ``table`` holds now; nothing where there is no table yet."""
        from undercroft.lake.schemas import RAW

        if not table.exists():
            return cls(RAW.empty_table().select(list(_COLUMNS)))
        table.widen(RAW)
        return cls(table.read(_COLUMNS))

    def index(self, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Where the documents are among the rows; -1 for those that are not held."""
        wanted = _keys(ids)
        at = np.searchsorted(self.keys, wanted)
        at[at == len(self.keys)] = 0
        found = self.keys[at] == wanted if len(self.keys) else np.zeros(len(wanted), bool)
        return np.where(found, at, -1).astype(np.int64)

    def differs(self, at: int, content: bytes, etag: str) -> bool:
        """Whether the row at ``at`` says something else."""
        held = self.contents[at].as_py(), self.etags[at].as_py()
        return bool(held != (content, etag))

    def of_file(self, address: str) -> npt.NDArray[np.int64]:
        """The rows of the file at ``address``."""
        return self._by_file.of(address)

    def stamped(self, address: str) -> npt.NDArray[np.int64]:
        """Those of them that carry an etag."""
        return self._stamped.of(address)

    def of_source(self, spec: str) -> npt.NDArray[np.int64]:
        import pyarrow.compute as pc

        is_of = pc.equal(self.rows["source"], spec)
        return np.flatnonzero(np.asarray(is_of))

    def gone(self) -> list[str]:
        """The ids of what was not seen again."""
        return [f"{key:016x}" for key in self.keys[~self.is_seen].tolist()]


@dataclass(frozen=True)
class OfSource:
    """What is held of the source ``spec``; rows taken on another ground than ``consent`` count
    as not known, so that they are read again."""

    held: Held
    spec: str
    consent: str

    def get(self, uri: str) -> Known | None:
        at = int(self.held.index([document_id(uri)])[0])
        if at < 0:
            return None
        row: dict[str, Any] = self.held.rows.slice(at, 1).to_pylist()[0]
        if row["source"] != self.spec or row["consent"] != self.consent:
            return None
        return Known(uri, row["etag"], row["last_modified"], row["status"] == "ok", row["mime"])

    def etags(self, file: str = "") -> frozenset[str]:
        rows = self.held.stamped(file) if file else self.held.of_source(self.spec)
        etags, sources = self.held.etags, self.held.sources
        found = {etags[at].as_py() for at in rows.tolist() if sources[at].as_py() == self.spec}
        return frozenset(found - {""})

    def mark(self, unchanged: Unchanged) -> None:
        """Count as seen what ``unchanged`` speaks of."""
        if unchanged.uri:
            at = self.held.index([document_id(unchanged.uri)])
            self.held.is_seen[at[at >= 0]] = True
        else:
            self.held.is_seen[self._rows(unchanged.file)] = True

    def _rows(self, file: str) -> npt.NDArray[np.int64]:
        return self.held.of_file(file) if file else self.held.of_source(self.spec)


class _Places:
    """Which of ``rows`` belong to a file, found by its key."""

    def __init__(self, files: Keys, rows: npt.NDArray[np.int64]) -> None:
        keys = files[rows]
        order = np.argsort(keys, kind="stable")
        self._keys, self._rows = keys[order], rows[order]

    def of(self, address: str) -> npt.NDArray[np.int64]:
        key = np.uint64(int(document_id(address), 16))
        find = self._keys.searchsorted  # numpy's function around it takes longer than the search
        return self._rows[find(key) : find(key, "right")]


def _has_some(texts: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.greater(pc.binary_length(pc.fill_null(texts, "")), 0)


def _keys(ids: Sequence[str]) -> Keys:
    return np.frombuffer(bytes.fromhex("".join(ids)), ">u8").astype(np.uint64)


def _file_keys(files: pa.ChunkedArray) -> Keys:
    """The key of every row's file; rows written before files were told apart have none."""
    import pyarrow as pa

    encoded = files.combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):  # what no rows at all combine to
        return np.zeros(0, np.uint64)
    names = [document_id(name or "") for name in encoded.dictionary.to_pylist()]
    codes = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)
    return _keys(names)[codes] if names else np.zeros(len(codes), np.uint64)
