"""One versioned table: every write is a new version, readable until clean-up unless tagged.

Any number of processes may write at once: Lance commits optimistically, and a writer that loses
the race tries again. Small commits are merged as they pile up (`upkeep`). Version numbers are
stable names: after an erasure rewrote a tagged version, its number still opens it, less the rows
that were erased (`purge`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa

from undercroft.errors import BadInput, NotFound
from undercroft.lake import files, upkeep
from undercroft.lake import purge as erasure
from undercroft.lake.blobs import digest_of
from undercroft.lake.faults import committed, is_conflict, is_missing, told
from undercroft.lake.lock import held
from undercroft.lake.rows import COLUMN as DIGEST
from undercroft.lake.where import any_of

#: What is remembered of tables' files; Lance's own 1 GB fills with what old versions were.
_METADATA_BYTES = 32_000_000
#: Caches of metadata and indices, shared by all tables of this process.
_SESSION = lance.Session(  # type: ignore[attr-defined]
    metadata_cache_size_bytes=_METADATA_BYTES
)

_FILTERED = 1000  # keys named in one filter


@dataclass(frozen=True, slots=True)
class TableVersion:
    """One version of a table that can still be read."""

    number: int
    at: datetime
    tags: tuple[str, ...]


class Table:
    """The table at ``uri``; ``lock`` is its lock file, None on an object store.

    Methods raise `NotFound` for a table, version or tag that is not there, `BadInput` for a
    filter or data that do not fit, `StorageFull`, and `Busy` when other writers never yield.
    """

    def __init__(self, uri: str, name: str, lock: Path | None) -> None:
        self.uri = uri
        self.name = name
        self._lock = lock

    # --- reading -----------------------------------------------------------------------------

    def exists(self) -> bool:
        try:
            lance.dataset(self.uri, session=_SESSION)
        except (ValueError, OSError) as error:
            if is_missing(error):
                return False
            raise
        return True

    @property
    def version(self) -> int:
        """The number of the newest version."""
        return int(self.dataset().version)

    @property
    def schema(self) -> pa.Schema:
        return self.dataset().schema

    def dataset(self, version: int | None = None, *, cached: bool = True) -> lance.LanceDataset:
        """The open Lance dataset at ``version``, or at the newest.

        ``cached`` False reads everything from the disk, nothing from what this process remembers.
        """
        session = _SESSION if cached else lance.Session()  # type: ignore[attr-defined]
        try:
            return lance.dataset(self.uri, version=version, session=session)
        except (ValueError, OSError) as error:
            if not is_missing(error):
                with told(f"open table {self.name}"):
                    raise
        if not self.exists():
            raise NotFound(f"There is no table {self.name} yet.", do="Write to it first.")
        rewritten = erasure.rewritten(self.dataset(), version)
        if rewritten is None:
            raise NotFound(
                f"Table {self.name} has no version {version}.",
                do="Untagged versions are cleaned up; run the stage that made it again.",
            )
        return rewritten

    def read(
        self,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        version: int | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> pa.Table:
        """The rows that match ``where`` (SQL; build it with `undercroft.lake.where`)."""
        with told(f"read table {self.name}"):
            return self.dataset(version).to_table(
                columns=None if columns is None else list(columns),
                filter=where,
                limit=limit,
                offset=offset,
            )

    def batches(
        self,
        columns: Sequence[str],
        where: str | None = None,
        version: int | None = None,
        rows: int = 8192,
    ) -> Iterator[pa.RecordBatch]:
        """The same in pieces of up to ``rows``, in the table's order: for more than fits in memory.

        Fewer rows are better where ``columns`` hold long texts.
        """
        with told(f"read table {self.name}"):
            scanner = self.dataset(version).scanner(
                list(columns), filter=where, batch_size=rows, batch_readahead=2
            )
            yield from scanner.to_batches()

    def take(
        self, rows: Sequence[int], columns: Sequence[str], version: int | None = None
    ) -> pa.Table:
        """Some rows by their places in the table's order."""
        with told(f"read table {self.name}"):
            return self.dataset(version).take(list(rows), columns=list(columns))

    def count(self, where: str | None = None, version: int | None = None) -> int:
        with told(f"count table {self.name}"):
            return int(self.dataset(version).count_rows(where))

    # --- writing -----------------------------------------------------------------------------

    def append(self, data: pa.Table) -> int:
        """Add ``data`` and return the new version; creates the table when there is none.

        Columns that are missing are filled with null, and types are cast to the table's.
        """

        def commit() -> int:
            try:
                dataset = lance.dataset(self.uri, session=_SESSION)
            except (ValueError, OSError) as error:
                if not is_missing(error):
                    raise
                return int(lance.write_dataset(data, self.uri, mode="create").version)
            fitted = self._fitted(data, dataset.schema)
            return int(lance.write_dataset(fitted, dataset, mode="append").version)

        return self._write(commit)

    def upsert(self, data: pa.Table, key: str = "id") -> int:
        """Replace the rows with the same ``key`` and add the others; return the new version.

        Of several rows with one key in ``data`` the last wins.
        """
        if not self.exists():
            return self.append(_last_of_each(data, key))

        def commit() -> int:
            dataset = self.dataset()
            fitted = _last_of_each(self._fitted(data, dataset.schema), key)
            merge = dataset.merge_insert(key)
            merge.when_matched_update_all().when_not_matched_insert_all().execute(fitted)
            return int(dataset.version)

        return self._write(commit)

    def widen(self, schema: pa.Schema) -> None:
        """Add the columns of ``schema`` that the table does not have, filled with null."""
        if not [field for field in schema if field.name not in self.schema.names]:
            return

        def commit() -> int:
            dataset = self.dataset()
            missing = [field for field in schema if field.name not in dataset.schema.names]
            if missing:
                dataset.add_columns(pa.schema(missing))
            return int(dataset.version)

        self._write(commit)

    def overwrite(self, data: pa.Table) -> int:
        """Make ``data``, with its own schema, the whole content of the next version."""

        def commit() -> int:
            mode = "overwrite" if self.exists() else "create"
            return int(lance.write_dataset(data, self.uri, mode=mode).version)

        return self._write(commit)

    def replace(self, data: pa.Table, key: str = "id") -> int:
        """Make ``data`` the whole content of the newest version, writing only rows that differ.

        Rows are compared by their column ``digest`` (`undercroft.lake.rows`); the order of rows is
        not kept. A table with other columns, or with more changes than not, is overwritten.
        """
        if not self.exists() or not self.schema.equals(data.schema):
            return self.overwrite(data)
        present = self.read([key, DIGEST])
        before = dict(zip(present[key].to_pylist(), present[DIGEST].to_pylist(), strict=True))
        now = dict(zip(data[key].to_pylist(), data[DIGEST].to_pylist(), strict=True))
        gone = [name for name in before if name not in now]
        changed = [row for row, name in enumerate(now) if before.get(name) != now[name]]
        if len(now) != data.num_rows or len(gone) + len(changed) > data.num_rows // 2:
            return self.overwrite(data)
        for start in range(0, len(gone), _FILTERED):
            self.delete(any_of(key, gone[start : start + _FILTERED]))
        return self.upsert(data.take(changed), key) if changed else self.version

    def delete(self, where: str) -> int:
        """Delete the matching rows from the newest version; return how many.

        Older versions still show them, and the disk still holds them; to erase use `purge`.
        """

        def commit() -> int:
            dataset = self.dataset()
            deleted = int(dataset.count_rows(where))
            if deleted:
                dataset.delete(where)
            return deleted

        with held(self._lock, alone=False):
            return committed(f"delete rows of table {self.name}", commit)

    def index(self, column: str, kind: str, **params: Any) -> int:
        """Build the ``kind`` of index (INVERTED, BTREE, IVF_FLAT, …) over ``column``.

        The recipe is kept with the table, so that an erasure can build it anew. Returns the new
        version.
        """
        recipe = upkeep.Recipe(column, kind, params)

        def commit() -> int:
            dataset = self.dataset()
            recipe.build(dataset)
            dataset.update_config({recipe.key: json.dumps(recipe.as_dict())})
            return int(dataset.version)

        with held(self._lock, alone=False):
            return committed(f"index table {self.name}", commit)

    def _write(self, commit: Callable[[], int]) -> int:
        # Of two that create a table at once, Lance keeps one and tells neither.
        with held(self._lock, alone=not self.exists()):
            version = committed(f"write table {self.name}", commit)
        if version % upkeep.COMMITS_BETWEEN == 0:
            self.maintain(upkeep.KEEP)
        return version

    def _fitted(self, data: pa.Table, schema: pa.Schema) -> pa.Table:
        unknown = [name for name in data.column_names if name not in schema.names]
        if unknown:
            raise BadInput(
                f"Table {self.name} has no column {', '.join(unknown)}.",
                f"Its columns are {', '.join(schema.names)}.",
                "Leave the column out, or overwrite the table with the new schema.",
            )
        columns = [
            data[field.name]
            if field.name in data.column_names
            else pa.nulls(data.num_rows, field.type)
            for field in schema
        ]
        fields = [pa.field(field.name, c.type) for field, c in zip(schema, columns, strict=True)]
        try:
            return pa.Table.from_arrays(columns, schema=pa.schema(fields)).cast(schema)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise BadInput(
                f"The rows do not fit table {self.name}.", str(error), "Convert the column first."
            ) from error

    # --- versions ----------------------------------------------------------------------------

    def tag(self, name: str, version: int) -> None:
        """Keep ``version`` for as long as the tag ``name`` is on it; moves the tag if it exists."""
        self.dataset(version)  # raises NotFound

        def commit() -> None:
            dataset = self.dataset()
            at, tags = erasure.reference(dataset, version), dataset.tags
            if name in tags.list():
                tags.update(name, at)
            else:
                tags.create(name, at)

        with held(self._lock, alone=False):
            committed(f"tag version {version} of table {self.name}", commit)

    def untag(self, name: str) -> None:
        """Take the tag ``name`` away; clean-up may then remove the version."""
        with told(f"untag table {self.name}"):
            self.dataset().tags.delete(name)

    def tags(self) -> dict[str, int]:
        """Every tag with the version number it is on."""
        return {
            name: erasure.original_version(tag) for name, tag in self.dataset().tags.list().items()
        }

    def versions(self) -> list[TableVersion]:
        """The versions that can still be read, oldest first."""
        names: dict[int, list[str]] = {}
        for name, number in self.tags().items():
            names.setdefault(number, []).append(name)
        dataset = self.dataset()
        times = {int(found["version"]): _moment(found) for found in dataset.versions()}
        for number, branch in erasure.branches(dataset).items():
            times.setdefault(number, _moment(branch.versions()[-1]))
        return [TableVersion(n, times[n], tuple(sorted(names.get(n, ())))) for n in sorted(times)]

    def file_digests(self, version: int, known: Mapping[str, str] | None = None) -> dict[str, str]:
        """SHA-256 of every file that ``version`` is read from, by its path in the table.

        Files never change once written: those in ``known`` are not read again. Nothing of a table
        on an object store, which keeps its own checksums.
        """
        if self._lock is None:
            return {}
        known = known or {}
        names = files.of(self.dataset(version))
        return {name: known.get(name) or digest_of(Path(self.uri) / name)[0] for name in names}

    # --- upkeep ------------------------------------------------------------------------------

    def maintain(self, keep: timedelta) -> None:
        """Merge small files and remove untagged versions older than ``keep``; never a tagged one.

        Runs by itself after every few commits. If another writer is in the way it does nothing:
        the next one will do it.
        """
        with held(self._lock, alone=False), told(f"tidy table {self.name}"):
            try:
                upkeep.tidy(self.dataset(), keep)
            except (OSError, ValueError, RuntimeError) as error:
                if not is_conflict(error) and not is_missing(error):
                    raise

    def purge(self, where: str) -> erasure.Purged:
        """Erase the matching rows from every version and from the disk, as `purge` describes.

        Waits for writers of other processes on this machine to finish, and holds them meanwhile.
        """
        with held(self._lock, alone=True):
            return committed(
                f"erase from table {self.name}", lambda: erasure.purge(self.dataset(), where)
            )


def _moment(version: Mapping[str, Any]) -> datetime:
    moment: datetime = version["timestamp"]
    return moment.astimezone(UTC)


def _last_of_each(data: pa.Table, key: str) -> pa.Table:
    last = {value: row for row, value in enumerate(data[key].to_pylist())}
    return data if len(last) == data.num_rows else data.take(sorted(last.values()))
