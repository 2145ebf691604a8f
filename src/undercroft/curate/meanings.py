"""Documents that mean much the same: for each the nearest one that would stay before it.

A document is the mean of static vectors of its words (`retrieve.Embedder`), kept in the table
``meanings`` for as long as its text and the model stay, so only new texts are read. Up to 20,000
documents all pairs are compared; of more, those of a cluster (SemDeDup, Abbas et al. 2023), which
misses pairs that clusters part. Likeness of meaning is a signal: a translation of a page, or two
reports of one event, are near, and both may be wanted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from undercroft.curate.update import TABLE
from undercroft.lake import any_of
from undercroft.lake.schemas import DIGEST, MEANINGS

if TYPE_CHECKING:
    from undercroft.lake import Table
    from undercroft.retrieve import Embedder
    from undercroft.stage import StageRun

MEANINGS_TABLE: Final = "meanings"
COLUMNS: Final = ("semantic_duplicate_of", "semantic_cosine")
MOST_AT_ONCE: Final = 20_000
_CLUSTER: Final = 2_000  # documents in one, about
_SAMPLE: Final = 100_000  # that clusters are made from
_READ_CHARS: Final = 20_000
_BATCH_ROWS: Final = 500
_BLOCK: Final = 2_048

Matrix = NDArray[np.float32]


def with_meanings(run: StageRun, version: int, columns: pa.Table) -> pa.Table:
    """``columns`` (`copies.Copies`) with the nearest in meaning of every document of ``version``.

    Raises `MissingExtra` where the embedding has to be distilled and torch is missing.
    """
    table = run.project.lake.table(TABLE)
    rows = table.read(["id", "uri", "sha256", "num_chars"], version=version)
    vectors = _Meanings.of(run, table, version).vectors(rows)
    nearest, cosines = find_nearest(vectors, _ranks(rows))
    none = nearest < 0
    arrays = (
        rows["id"].combine_chunks().take(pa.array(nearest, mask=none)),
        pa.array(cosines, mask=none),
    )
    for name, array in zip(COLUMNS, arrays, strict=True):
        columns = columns.set_column(columns.column_names.index(name), name, array)
    return columns


def find_nearest(
    vectors: Matrix, ranks: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each of n unit vectors the nearest that ranks before it, and their cosine; -1 for the
    first of all (of its cluster) and for zero vectors."""
    nearest = np.full(len(vectors), -1, np.int64)
    cosines = np.zeros(len(vectors), np.float32)
    known = np.flatnonzero(np.abs(vectors).sum(axis=1) > 0)
    for members in _clusters(vectors, known[np.argsort(ranks[known], kind="stable")]):
        own = vectors[members]
        for first in range(1, len(members), _BLOCK):
            block = slice(first, first + _BLOCK)
            likeness = own[block] @ own[: min(first + _BLOCK, len(members))].T
            later = np.arange(likeness.shape[1]) >= np.arange(first, first + len(likeness))[:, None]
            likeness[later] = -2.0
            best = likeness.argmax(axis=1)
            nearest[members[block]] = members[best]
            cosines[members[block]] = likeness[np.arange(len(best)), best]
    return nearest, cosines


def _clusters(vectors: Matrix, ordered: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """``ordered`` in parts to be compared within, each in that order."""
    if len(ordered) <= MOST_AT_ONCE:
        yield ordered
        return
    from sklearn.cluster import MiniBatchKMeans

    step = -(-len(ordered) // _SAMPLE)
    count = -(-len(ordered) // _CLUSTER)
    means = MiniBatchKMeans(count, random_state=0, n_init=1).fit(vectors[ordered[::step]])
    labels = means.predict(vectors[ordered])
    for label in range(count):
        yield ordered[labels == label]


def _ranks(rows: pa.Table) -> NDArray[np.int64]:
    """The place of each document in the order that they stay in: as `duplicates` has it."""
    keyed = rows.append_column("length", pc.utf8_length(rows["uri"]))
    keys = [("num_chars", "descending"), ("length", "ascending"), ("uri", "ascending")]
    ranks = np.empty(rows.num_rows, np.int64)
    ranks[pc.sort_indices(keyed, keys).to_numpy()] = np.arange(rows.num_rows)
    return ranks


@dataclass(frozen=True)
class _Meanings:
    """The table ``meanings``, kept up to date with ``version`` of the documents table."""

    run: StageRun
    table: Table
    version: int
    embedder: Embedder
    held: Table

    @classmethod
    def of(cls, run: StageRun, table: Table, version: int) -> _Meanings:
        from undercroft.retrieve import Embedder
        from undercroft.retrieve.shelf import distil_or_reuse

        settings, folder = run.project.settings.index, run.workdir / "embedding"
        distil_or_reuse(
            settings.embedding,
            settings.dimensions,
            folder,
            lambda done, total: run.progress(done, total, "tokens", "distil the embedding"),
        )
        held = run.project.lake.table(MEANINGS_TABLE)
        return cls(run, table, version, Embedder.load(folder), held)

    def vectors(self, rows: pa.Table) -> Matrix:
        """The unit vectors of ``rows``, float32 [n, dimensions]; new texts are embedded."""
        model = self.embedder.digest
        made_from = [
            hashlib.sha256(f"{model} {sha256}".encode()).digest()[:16]
            for sha256 in rows["sha256"].to_pylist()
        ]
        wanted = pa.table({"id": rows["id"], "made_from": pa.array(made_from, DIGEST)})
        stale, gone = self._compared(wanted)
        for first in range(0, len(stale), _BATCH_ROWS):
            self.run.progress(first, len(stale), "documents", "embed")
            self._embed(wanted, stale[first : first + _BATCH_ROWS])
        for first in range(0, len(gone), _BATCH_ROWS):
            self.held.delete(any_of("id", gone[first : first + _BATCH_ROWS]))
        found = self.held.read(["id", "vector"])
        places = pc.index_in(wanted["id"], value_set=found["id"].combine_chunks())
        data = b"".join(found["vector"].take(places).to_pylist())
        return np.frombuffer(data, np.float16).reshape(len(places), -1).astype(np.float32)

    def _compared(self, wanted: pa.Table) -> tuple[NDArray[np.int64], list[str]]:
        """The places in ``wanted`` of what is not held, and the ids that are wanted no more."""
        if not self.held.exists():
            return np.arange(wanted.num_rows), []
        known = self.held.read(["id", "made_from"])
        places = pc.index_in(wanted["id"], value_set=known["id"].combine_chunks())
        same = pc.fill_null(pc.equal(known["made_from"].take(places), wanted["made_from"]), False)
        is_wanted = pc.is_in(known["id"], value_set=wanted["id"].combine_chunks())
        gone: list[str] = known["id"].filter(pc.invert(is_wanted)).to_pylist()
        return np.flatnonzero(~same.to_numpy()), gone

    def _embed(self, wanted: pa.Table, chosen: NDArray[np.int64]) -> None:
        texts = self.table.take(chosen.tolist(), ["text"], self.version)["text"].to_pylist()
        vectors = self.embedder.encode([text[:_READ_CHARS] for text in texts])
        halves = [vector.tobytes() for vector in vectors.astype(np.float16)]
        column = pa.array(halves, pa.large_binary())
        made = wanted.take(pa.array(chosen)).append_column("vector", column).cast(MEANINGS)
        if self.held.exists():
            self.held.upsert(made)
        else:
            self.held.overwrite(made)
