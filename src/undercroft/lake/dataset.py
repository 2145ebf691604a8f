"""The documents of a dataset artifact: those its policy kept, with what it masks masked.

The artifact is a folder blob with ``selection.parquet`` (`schemas.SELECTION`); its meta names the
documents table and the version the selection was made on. The text itself is not copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from undercroft.errors import Denied
from undercroft.lake.lake import Lake
from undercroft.records import Artifact

COLUMNS = ("id", "source", "uri", "title", "text", "group", "mime", "licence", "language")
SELECTION_FILE = "selection.parquet"


def read_dataset(
    lake: Lake, artifact: Artifact, columns: Sequence[str] | None = None, purpose: str = ""
) -> pa.Table:
    """The kept documents of ``artifact`` with ``columns`` (default `COLUMNS`), masks applied.

    Documents are in the order of the selection; with a ``purpose`` that was declared for the
    dataset, those that may serve it. One that was erased since the dataset was made is left out.
    Raises `NotFound` when the selection or the table's version is gone, and `Denied` for a column
    that the purpose does not show.
    """
    kept = _kept(lake, artifact, purpose)
    wanted = columns_for(artifact, purpose, columns)
    documents = lake.table(str(artifact.meta["table"])).read(
        columns=list(dict.fromkeys(["id", *wanted])), version=int(artifact.meta["version"])
    )
    rows = pc.index_in(kept["id"], value_set=documents["id"].combine_chunks())
    present = pc.is_valid(rows)
    documents = documents.take(rows.filter(present))
    return _with_masks(documents.select(wanted), kept["mask"].filter(present))


def _with_masks(documents: pa.Table, masks: pa.ChunkedArray) -> pa.Table:
    if "text" not in documents.column_names:
        return documents
    position = documents.column_names.index("text")
    return documents.set_column(position, "text", _masked(documents["text"], masks))


def read_kept(lake: Lake, artifact: Artifact, purpose: str = "") -> pa.Table:
    """Which documents `read_dataset` would give, without their texts, for `take_kept`.

    Columns: ``id``; ``place``, the row in the documents table; ``num_chars``, the characters that
    the masks leave; ``mask``. Raises as `read_dataset` does.
    """
    kept = _kept(lake, artifact, purpose).select(["id", "mask"])
    documents = lake.table(str(artifact.meta["table"])).read(
        columns=["id", "num_chars"], version=int(artifact.meta["version"])
    )
    places = pc.index_in(kept["id"], value_set=documents["id"].combine_chunks())
    kept = kept.append_column("place", places).filter(pc.is_valid(places))
    chars = pc.fill_null(documents["num_chars"].take(kept["place"]), 0).combine_chunks()
    has_mask = _has_mask(kept["mask"]).combine_chunks()
    lost = [masked_chars(mask) for mask in kept["mask"].filter(has_mask).to_pylist()]
    left = pc.subtract(chars.filter(has_mask), pa.array(lost, chars.type))
    return kept.append_column("num_chars", pc.replace_with_mask(chars, has_mask, left))


def take_kept(lake: Lake, artifact: Artifact, kept: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The documents of rows of `read_kept`, in their order and as often as they are there."""
    documents = lake.table(str(artifact.meta["table"])).take(
        kept["place"].to_pylist(), columns, int(artifact.meta["version"])
    )
    return _with_masks(documents, kept["mask"])


def columns_for(
    artifact: Artifact, purpose: str = "", columns: Sequence[str] | None = None
) -> list[str]:
    """The columns that a reader for ``purpose`` gets; raises `Denied` for one it does not show."""
    declared = artifact.meta.get("purposes", {})
    if purpose in declared:
        return _shown(purpose, declared[purpose]["columns"], columns)
    return list(COLUMNS if columns is None else columns)


def _kept(lake: Lake, artifact: Artifact, purpose: str) -> pa.Table:
    """The rows of the selection that are kept and may serve ``purpose``."""
    selection = read_selection(lake, artifact)
    kept = selection.filter(selection["kept"])
    if purpose in artifact.meta.get("purposes", {}):
        kept = kept.filter(_serves(kept["purposes"], purpose))
    return kept


def _serves(purposes: pa.ChunkedArray, purpose: str) -> pa.Array:
    """Which documents serve ``purpose``, bool [n]."""
    lists = purposes.combine_chunks()
    parents = pc.list_parent_indices(lists)
    chosen = parents.filter(pc.equal(pc.list_flatten(lists), purpose))
    return pc.is_in(pa.array(range(len(lists)), parents.type), value_set=chosen)


def _shown(purpose: str, shown: Sequence[str], columns: Sequence[str] | None) -> list[str]:
    """The columns that a reader for ``purpose`` gets: those asked for, else those it shows."""
    wanted = list(columns or shown or COLUMNS)
    hidden = [name for name in wanted if shown and name not in shown]
    if hidden:
        raise Denied(
            f"The purpose {purpose} does not show the column {hidden[0]}.",
            f"It shows {', '.join(shown)}.",
            f"Ask for those, or add it to `columns` under [curate.purposes.{purpose}].",
        )
    return wanted


def read_selection(lake: Lake, artifact: Artifact) -> pa.Table:
    """One row per document of ``artifact``, kept or not (`schemas.SELECTION`).

    Raises `NotFound` when the selection is gone.
    """
    return pq.read_table(lake.blobs.path(artifact.uri) / SELECTION_FILE)


def _masked(texts: pa.ChunkedArray, masks: pa.ChunkedArray) -> pa.ChunkedArray:
    """``texts`` with their masks applied; only texts that have one are touched."""
    has_mask = _has_mask(masks)
    if not pc.any(has_mask).as_py():
        return texts
    replaced = [
        mask_text(text, mask)
        for text, mask in zip(
            texts.filter(has_mask).to_pylist(), masks.filter(has_mask).to_pylist(), strict=True
        )
    ]
    return pc.replace_with_mask(
        texts.combine_chunks(), has_mask.combine_chunks(), pa.array(replaced, texts.type)
    )


def _has_mask(masks: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.greater(pc.fill_null(pc.list_value_length(masks), 0), 0)


def mask_text(text: str, mask: Sequence[Mapping[str, Any]]) -> str:
    """``text`` with every span of ``mask`` (start, end, label) replaced by its label.

    Of spans that overlap, the union is replaced by the label of the first.
    """
    pieces: list[str] = []
    done = 0
    for span in sorted(mask, key=lambda each: (each["start"], -each["end"])):
        if span["start"] >= done:
            pieces += [text[done : span["start"]], span["label"]]
        done = max(done, span["end"])
    return "".join([*pieces, text[done:]])


def masked_chars(mask: Sequence[Mapping[str, Any]]) -> int:
    """How many characters shorter `mask_text` makes a text."""
    lost = done = 0
    for span in sorted(mask, key=lambda each: (each["start"], -each["end"])):
        if span["start"] >= done:
            lost -= len(span["label"])
        lost += max(span["end"] - max(done, span["start"]), 0)
        done = max(done, span["end"])
    return lost
