"""The raw table -> the documents table, by differences and in bounded memory.

Only raw documents whose row is not there yet are read: new ones, changed ones, and all of them once
the code that reads them has changed. Rows are committed as they come, so a run that was killed goes
on where it stopped. What workers are to do at once is measured in bytes; a document that no worker
gets through becomes a row that says why.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from undercroft.curate.documents import (
    TAKEN_OVER,
    Raw,
    Wanted,
    document_rows,
    quarantined_row,
)
from undercroft.curate.names import pipeline
from undercroft.curate.signals import batches
from undercroft.errors import StageFailed
from undercroft.lake import Table, any_of
from undercroft.lake.schemas import DIGEST, DOCUMENTS
from undercroft.records import Artifact
from undercroft.settings import CurateSettings
from undercroft.spread import Lost, hired, spread
from undercroft.stage import StageRun, code_digest

TABLE: Final = "documents"
#: What the rows depend on besides the raw documents.
_CODE: Final = ("undercroft.curate", "undercroft.detect")
_TASK_BYTES: Final = 1_000_000  # of payload in one task
_TASK_ROWS: Final = 256
_COMMIT_BYTES: Final = 64_000_000
_COMMIT_ROWS: Final = 20_000
_FILTERED: Final = 1_000
#: Markup is parsed by others' code: it is never read in this process.
_OWN_READING: Final = ("text/plain", "text/markdown")


@dataclass(frozen=True)
class Updated:
    """The documents table as it is now: its newest version, and how many rows were made anew, are
    gone, and are in quarantine among those made anew."""

    version: int
    made: int
    gone: int
    quarantined: int


def update(run: StageRun, params: CurateSettings, raw: Artifact) -> Updated:
    """Bring the documents table up to date with ``raw``.

    Raises `StageFailed` when no worker got through any document.
    """
    source, version = run.project.table(raw)
    table = run.project.lake.table(TABLE)
    asked = Wanted.by(params)
    if asked.names:
        pipeline(asked.names)  # a worker's complaint would be one for each document
    wanted = _wanted(source, version, asked)
    stale, gone = _compared(wanted, table)
    writer = _Writer(table)
    total = stale.num_rows
    small = _is_small(stale)
    reading = _Reading(run, source, version, stale)
    run.progress(0, total, "documents", "read and measure")
    work = partial(document_rows, wanted=asked)
    with hired(run.project.settings.cluster, is_small=small) as workers:
        tries = run.project.settings.cluster.tries
        for found in spread(workers, work, reading.batches(), tries):
            writer.take(found)
            run.progress(writer.made, total, "documents", "read and measure")
    if writer.made and writer.quarantined == writer.made:
        raise StageFailed(
            "No document could be read.",
            f"The first reason: {writer.reason}.",
            "Look at `undercroft doctor`, and at the limits under [cluster].",
        )
    writer.commit()
    for start in range(0, len(gone), _FILTERED):
        table.delete(any_of("id", gone[start : start + _FILTERED]))
    return Updated(table.version, writer.made, len(gone), writer.quarantined)


def _wanted(source: Table, version: int, asked: Wanted) -> pa.Table:
    """What the documents table is to hold: id, made_from, and where its raw row is."""
    code = f"{code_digest(_CODE)} {asked}"
    columns = [*TAKEN_OVER, "sha256", "size_bytes", "status"]
    parts, at = [], 0
    for batch in source.batches(columns, version=version):
        rows = batch.to_pylist()
        ok = [n for n, row in enumerate(rows) if row.pop("status") == "ok"]
        chosen = batch.take(pa.array(ok, pa.int64()))
        parts.append(
            pa.table(
                {
                    "id": chosen["id"],
                    "mime": chosen["mime"],
                    "size": pc.fill_null(chosen["size_bytes"], 0),
                    "made_from": pa.array((_made_from(rows[n], code) for n in ok), DIGEST),
                    "at": pa.array([at + n for n in ok], pa.int64()),
                }
            )
        )
        at += len(rows)
    return pa.concat_tables(parts)


def _made_from(row: dict[str, Any], code: str) -> bytes:
    text = json.dumps([row, code], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def _compared(wanted: pa.Table, table: Table) -> tuple[pa.Table, list[str]]:
    """The rows of ``wanted`` that are missing or made from something else, and the ids that are
    no longer wanted."""
    if not table.exists() or not table.schema.equals(DOCUMENTS):
        return wanted, []
    held = table.read(["id", "made_from"])
    place = pc.index_in(wanted["id"], value_set=held["id"].combine_chunks())
    same = pc.fill_null(pc.equal(held["made_from"].take(place), wanted["made_from"]), False)
    is_wanted = pc.is_in(held["id"], value_set=wanted["id"].combine_chunks())
    gone = held["id"].filter(pc.invert(is_wanted))
    return wanted.filter(pc.invert(same)), gone.to_pylist()


def _is_small(stale: pa.Table) -> bool:
    """Whether reading ``stale`` here is quicker than starting workers, and safe."""
    ours = pc.all(pc.is_in(stale["mime"], pa.array(_OWN_READING, stale["mime"].type)), min_count=0)
    size = pc.sum(stale["size"], min_count=0).as_py()
    return bool(ours.as_py()) and size < 2 * _TASK_BYTES


@dataclass(frozen=True)
class _Reading:
    """The raw documents to read, opened in batches just before they are handed out."""

    run: StageRun
    source: Table
    version: int
    stale: pa.Table

    def batches(self) -> Iterator[Sequence[Raw]]:
        sizes = np.maximum(self.stale["size"].to_numpy(), _TASK_BYTES // _TASK_ROWS)
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        for first, last in batches(ends, _TASK_BYTES):
            yield self._opened(self.stale.slice(first, last - first))

    def _opened(self, rows: pa.Table) -> list[Raw]:
        found = self.source.take(rows["at"].to_pylist(), [*TAKEN_OVER, "payload"], self.version)
        vault = self.run.project.trust.vault
        opened = []
        for row, made_from in zip(found.to_pylist(), rows["made_from"].to_pylist(), strict=True):
            aad = b"raw:" + row["id"].encode()
            payload = vault.open(row["subject"] or "", row.pop("payload"), aad)
            opened.append(Raw(row, payload, made_from))
        return opened


@dataclass
class _Writer:
    """Commits rows when enough have come together."""

    table: Table
    made: int = 0
    quarantined: int = 0
    reason: str = ""
    pending: list[pa.Table] = field(default_factory=list)

    def take(self, found: pa.Table | Lost[Raw]) -> None:
        if isinstance(found, Lost):
            self.quarantined += 1
            self.reason = self.reason or found.reason
            found = quarantined_row(found.item, found.reason)
        self.made += found.num_rows
        self.pending.append(found)
        rows = sum(part.num_rows for part in self.pending)
        if rows >= _COMMIT_ROWS or sum(part.nbytes for part in self.pending) >= _COMMIT_BYTES:
            self.commit()

    def commit(self) -> None:
        if not self.pending:
            return
        rows = pa.concat_tables(self.pending)
        if self.table.exists() and self.table.schema.equals(rows.schema):
            self.table.upsert(rows)
        else:
            self.table.overwrite(rows)
        self.pending.clear()
