"""The documents table -> what every document has to do with the others.

What the dataset made last found is taken over for every group of documents that is still the same
(`groups`), so new data costs its own comparisons and not those of all there was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from undercroft.curate import duplicates
from undercroft.curate.duplicates import Before, Found, Near
from undercroft.curate.groups import TEMPLATE_BUCKET, Corpus, heads
from undercroft.curate.update import TABLE
from undercroft.errors import NotFound, StageFailed
from undercroft.lake import Table, read_selection
from undercroft.lake.schemas import DUPLICATES
from undercroft.project import Project
from undercroft.stage import StageRun

_READ: Final = ("id", "uri", "sha256", "bands", "num_chars", "num_words")


@dataclass(frozen=True)
class Copies:
    """``columns`` has ``id`` and `schemas.DUPLICATES`, a row for each document of the table in its
    order; ``counts`` say what was looked at."""

    columns: pa.Table
    counts: dict[str, int]


def find_copies(run: StageRun, version: int, threshold: float) -> Copies:
    """Look for copies among the documents of ``version`` of the documents table."""
    table = run.project.lake.table(TABLE)
    rows = table.read(_READ, version=version)
    # Fixed-size keys come as blobs of bytes; quarantined documents have none.
    rows = rows.set_column(
        rows.column_names.index("bands"), "bands", pc.fill_null(rows["bands"], bytes(112))
    )
    run.progress(0, rows.num_rows, "documents", "duplicates")
    planted = _Planted(Corpus.from_rows(rows), table, version)
    corpus = planted.corpus
    originals = duplicates.exact(corpus)
    found = duplicates.near(
        corpus, planted.texts_of, threshold, originals >= 0, _before(run.project)
    )
    planted.check(found)
    run.progress(rows.num_rows, rows.num_rows, "documents", "duplicates")
    columns = _columns(rows["id"], originals, duplicates.same_url(corpus), found)
    return Copies(columns, _counts(columns, found))


class _Planted:
    """Two near duplicates put among the documents of every run: if duplicate removal does not
    find them it has silently stopped working, and the run must fail."""

    names = ("planted:copy", "planted:original")

    def __init__(self, documents: Corpus, table: Table, version: int) -> None:
        self._texts = dict(zip(self.names, self._made_up(), strict=True))
        self._first = len(documents)
        self._table, self._version = table, version
        self.corpus = documents.followed_by(Corpus.of(self._texts))

    @staticmethod
    def _made_up() -> tuple[str, str]:
        words = [
            f"planted{chr(97 + i % 26)}{chr(97 + i * 7 % 26)}{chr(97 + i // 26)}"
            for i in range(260)
        ]
        text = " ".join(words)
        return text.upper(), text + ", and one word more"

    def texts_of(self, indices: NDArray[np.int64]) -> pa.LargeStringArray:
        """The texts of documents, and of the planted ones after them."""
        real = indices < self._first
        order = np.argsort(indices[real], kind="stable")
        taken = self._table.take(indices[real][order].tolist(), ["text"], self._version)["text"]
        places = np.empty(len(indices), np.int64)
        places[np.flatnonzero(real)[order]] = np.arange(int(real.sum()))
        places[~real] = int(real.sum()) + indices[~real] - self._first
        made_up = pa.array(self._texts.values(), pa.large_string())
        return pa.concat_arrays([*taken.chunks, made_up]).take(pa.array(places))

    def check(self, found: Found) -> None:
        alike = found.near.get(self._first)
        if alike is None or alike.original != self._first + 1:
            raise StageFailed(
                "The planted near duplicate was not found.",
                "Duplicate removal does not work here, so its result cannot be trusted.",
                "Please report this with the output of: undercroft doctor",
            )


def _before(project: Project) -> Before:
    """What the dataset made last says of its groups; nothing where there is none."""
    made = project.ledger.artifacts("dataset", project.name, limit=1)
    if not made:
        return {}
    try:
        selection = read_selection(project.lake, made[0])
    except NotFound:
        return {}
    if "near_group" not in selection.column_names:
        return {}
    grouped = selection.filter(pc.is_valid(selection["near_group"]))
    ids = heads(grouped["id"].to_pylist()).tolist()
    prints = grouped["near_group"].to_pylist()
    before: dict[int, tuple[int, Near | None]] = {
        each: (group, None) for each, group in zip(ids, prints, strict=True)
    }
    copied = grouped.filter(pc.is_valid(grouped["near_duplicate_of"]))
    likeness = (f"near_duplicate_{name}" for name in ("jaccard", "containment"))
    pairs = zip(
        heads(copied["id"].to_pylist()).tolist(),
        heads(copied["near_duplicate_of"].to_pylist()).tolist(),
        *(copied[name].to_pylist() for name in likeness),
        strict=True,
    )
    for each, original, jaccard, containment in pairs:
        before[each] = (before[each][0], Near(original, jaccard, containment))
    return before


def _columns(
    ids: pa.ChunkedArray,
    originals: NDArray[np.int64],
    pages: NDArray[np.int64],
    found: Found,
) -> pa.Table:
    """One row for each of ``ids``, in their order; what was planted is left off."""
    count = len(ids)
    names = ids.combine_chunks()
    near = np.full(count, -1, np.int64)
    jaccard, containment = np.full(count, np.nan), np.full(count, np.nan)
    for index, alike in found.near.items():
        if index < count:
            near[index] = alike.original
            jaccard[index], containment[index] = alike.jaccard, alike.containment
    sizes = found.groups.sizes()[:count]
    alone = sizes == 1
    arrays = [
        _named(names, originals[:count]),
        _named(names, pages[:count]),
        _named(names, near),
        pa.array(jaccard, mask=np.isnan(jaccard)),
        pa.array(containment, mask=np.isnan(containment)),
        pa.array(found.groups.fingerprints[:count], mask=alone),
        pa.array(sizes.astype(np.int32), mask=alone),
        pa.nulls(count, pa.string()),
        pa.nulls(count, pa.float32()),
    ]
    return pa.table([names, *arrays], schema=pa.schema([("id", pa.string()), *DUPLICATES]))


def _named(names: pa.StringArray, indices: NDArray[np.int64]) -> pa.StringArray:
    """The names at ``indices``; null where there is none."""
    return names.take(pa.array(indices, mask=indices < 0))


def _counts(columns: pa.Table, found: Found) -> dict[str, int]:
    templates = pc.greater(columns["near_group_size"], TEMPLATE_BUCKET)
    return {
        "compared": found.num_read,
        "grouped": columns.num_rows - columns["near_group"].null_count,
        "largest_bucket": found.groups.largest_bucket,
        "in_template_groups": int(pc.sum(templates, min_count=0).as_py()),
    }
