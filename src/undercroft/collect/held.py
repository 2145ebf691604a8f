"""What the table ``raw`` holds already, without the payloads: some 150 bytes a row."""

from __future__ import annotations

import hashlib
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
Places = npt.NDArray[np.int64]

#: What the writer and the sources ask for; the rest of a row is in its digest, ``content``.
_COLUMNS: Final = (
    *("id", "source", "uri", "file", "consent", "etag", "last_modified", "status", "mime"),
    "content",
)
_REPEATED: Final = ("source", "consent", "status", "mime")


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
        files = _file_keys(rows, keys)[order]
        self.rows = rows.drop_columns(["id", "uri", "file"]).take(order).combine_chunks()
        self.etags: pa.Array = self.rows["etag"].combine_chunks()
        self.contents: pa.Array = self.rows["content"].combine_chunks()
        self.sources: pa.Array = self.rows["source"].combine_chunks()
        self._by_file = np.argsort(files, kind="stable")
        self._files: Keys = files[self._by_file]
        self.is_seen = np.zeros(len(self.keys), bool)

    @classmethod
    def of(cls, table: Table) -> Held:
        """What ``table`` holds now; nothing where there is no table yet."""
        from undercroft.lake.schemas import RAW

        if not table.exists():
            return cls(RAW.empty_table().select(list(_COLUMNS)))
        table.widen(RAW)
        return cls(table.read(_COLUMNS))

    def index(self, ids: Sequence[str]) -> Places:
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

    def of_files(self, addresses: Sequence[str]) -> tuple[Places, Places]:
        """The rows of the files, and of each row where its file is among ``addresses``."""
        wanted = _keys_of(addresses)
        first = np.searchsorted(self._files, wanted)
        counts = np.searchsorted(self._files, wanted, "right") - first
        which = np.repeat(np.arange(len(wanted)), counts)
        before = np.cumsum(counts) - counts
        at = np.arange(len(which)) + np.repeat(first - before, counts)
        return self._by_file[at], which

    def of_source(self, spec: str) -> Places:
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
        import pyarrow.compute as pc

        rows = self._rows(file)
        is_ours = pc.equal(self.held.sources.take(rows), self.spec)
        found = self.held.etags.take(rows).filter(is_ours).unique()
        return frozenset(found.to_pylist()) - {"", None}

    def unchanged(self, files: Sequence[str], etags: Sequence[str]) -> list[bool]:
        import pyarrow as pa
        import pyarrow.compute as pc

        rows, which = self.held.of_files(files)
        same = pc.equal(self.held.etags.take(rows), pa.array(etags, pa.string()).take(which))
        is_ours = pc.equal(self.held.sources.take(rows), self.spec)
        is_so = np.asarray(pc.fill_null(pc.and_(same, is_ours), fill_value=False), bool)
        found = np.zeros(len(files), bool)
        found[which[is_so]] = True
        self.held.is_seen[rows[found[which]]] = True
        return found.tolist()

    def mark(self, unchanged: Unchanged) -> None:
        """Count as seen what ``unchanged`` speaks of."""
        if unchanged.uri:
            at = self.held.index([document_id(unchanged.uri)])
            self.held.is_seen[at[at >= 0]] = True
        else:
            self.held.is_seen[self._rows(unchanged.file)] = True

    def _rows(self, file: str) -> Places:
        return self.held.of_files([file])[0] if file else self.held.of_source(self.spec)


def _keys(ids: Sequence[str]) -> Keys:
    return np.frombuffer(bytes.fromhex("".join(ids)), ">u8").astype(np.uint64)


def _keys_of(addresses: Sequence[str]) -> Keys:
    """The keys of addresses: their ids as numbers."""
    sha256 = hashlib.sha256
    said = (sha256(each.encode("utf-8", "surrogateescape")).digest()[:8] for each in addresses)
    return np.frombuffer(b"".join(said), ">u8").astype(np.uint64)


def _file_keys(rows: pa.Table, documents: Keys) -> Keys:
    """The key of every row's file, by those of its ``documents``; rows written before files were
    told apart have none. Most files are one document, whose key is theirs."""
    import pyarrow.compute as pc

    files = rows["file"].fill_null("")
    is_within = pc.not_equal(files, rows["uri"])
    within = files.filter(is_within).combine_chunks().dictionary_encode()
    keys = documents.copy()
    names = _keys_of(within.dictionary.to_pylist())
    keys[np.asarray(is_within, bool)] = names[np.asarray(within.indices)]
    return keys
