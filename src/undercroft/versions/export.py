"""A dataset version as a folder that other tools read.

    data/train-00000-of-00001.parquet   the kept documents, masked (or .jsonl); of a mixture,
                                        what it takes, with the column epoch
    README.md                           the dataset card, which Hugging Face's `datasets` reads too
    croissant.json                      the description of MLCommons Croissant 1.0

The folder appears whole or not at all.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from undercroft.errors import BadInput
from undercroft.lake.blobs import digest_of
from undercroft.lake.faults import told
from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.versions.card import card
from undercroft.versions.croissant import croissant
from undercroft.versions.mixture import Drawn, Mixture
from undercroft.versions.names import known_purpose

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["parquet", "jsonl"]
Tell = Callable[[int, int], None]
FORMATS: tuple[Format, ...] = ("parquet", "jsonl")
#: Rows of one file: at 10 kB a document about 0.5 GB, the size that readers like best.
FILE_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class File:
    """One exported file; ``name`` is relative to the folder."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Content:
    """What is written: ``pieces`` gives the rows from a start to a stop."""

    schema: pa.Schema
    num_rows: int
    pieces: Callable[[int, int], Iterator[pa.Table]]
    mixture: Mixture | None = None


def export(
    project: Project,
    artifact: Artifact,
    folder: Path,
    form: Format = "parquet",
    tell: Tell = lambda *_: None,
    *,
    purpose: str = "",
    mixed: Drawn | None = None,
) -> list[File]:
    """Write the kept documents of ``artifact`` into the new ``folder``; the files with digests.

    With a ``purpose``, those that may serve it, and the columns that it shows. With ``mixed``,
    drawn for the same purpose, the documents that the mixture takes, once per epoch, with a column
    ``epoch``; their texts are never held all at once. ``tell`` hears of (rows written, rows in
    all). Raises `NotFound` for a purpose that the dataset does not have,
    `BadInput` when ``folder`` holds something, which is left as it is, and `StorageFull`.
    """
    known_purpose(artifact, purpose)
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(
            f"{folder} is not empty.", "It was left as it is.", "Name a folder that is new."
        )
    making = folder.with_name(f".{folder.name}.making")
    with told(f"export {artifact} to {folder}"):
        try:
            content = (
                _mixed(project, artifact, purpose, mixed)
                if mixed
                else _all(project, artifact, purpose)
            )
            files = _make(project, artifact, making, form, content=content, tell=tell)
            if folder.exists():
                folder.rmdir()
            making.rename(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return files


def _make(
    project: Project,
    artifact: Artifact,
    folder: Path,
    form: Format,
    *,
    content: _Content,
    tell: Tell,
) -> list[File]:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "data").mkdir(parents=True)
    files: list[File] = []
    count = max(1, -(-content.num_rows // FILE_ROWS))
    for number in range(count):
        name = f"data/train-{number:05}-of-{count:05}.{form}"
        start = number * FILE_ROWS
        stop = min(start + FILE_ROWS, content.num_rows)
        pieces = _told(content.pieces(start, stop), start, content.num_rows, tell)
        _write(pieces, folder / name, content.schema, form)
        files.append(_file(folder, name))
    text = card(project, artifact, f"data/*.{form}", content.mixture)
    (folder / "README.md").write_text(text, encoding="utf-8")
    how = f", mixed {content.mixture}: {content.num_rows:,} rows" if content.mixture else ""
    described = json.dumps(croissant(artifact, content.schema, files, form, how), indent=2)
    (folder / "croissant.json").write_text(described + "\n", encoding="utf-8")
    return files


def _all(project: Project, artifact: Artifact, purpose: str) -> _Content:
    """The kept documents, each once, in the order of the selection."""
    from undercroft.lake import read_dataset

    documents = read_dataset(project.lake, artifact, purpose=purpose)
    return _Content(
        documents.schema,
        documents.num_rows,
        lambda start, stop: iter([documents.slice(start, stop - start)]),
    )


def _mixed(project: Project, artifact: Artifact, purpose: str, drawn: Drawn) -> _Content:
    """The documents of a mixture, in its order."""
    from undercroft.lake.dataset import columns_for

    columns = columns_for(artifact, purpose)
    first = next(drawn.batches(project, artifact, columns, 0, 1))
    return _Content(
        first.schema,
        len(drawn.rows),
        lambda start, stop: drawn.batches(project, artifact, columns, start, stop),
        drawn.mixture,
    )


def _told(pieces: Iterator[pa.Table], done: int, total: int, tell: Tell) -> Iterator[pa.Table]:
    for piece in pieces:
        yield piece
        done += piece.num_rows
        tell(done, total)


def _write(pieces: Iterator[pa.Table], path: Path, schema: pa.Schema, form: Format) -> None:
    if form == "parquet":
        import pyarrow.parquet as pq

        # Pages cut by content: stores that keep each chunk once see two versions as one.
        with pq.ParquetWriter(
            path, schema, compression="zstd", use_content_defined_chunking=True
        ) as file:
            for piece in pieces:
                file.write_table(piece)
        return
    with path.open("w", encoding="utf-8") as lines:
        for piece in pieces:
            for row in piece.to_pylist():
                lines.write(json.dumps(row, ensure_ascii=False) + "\n")


def _file(folder: Path, name: str) -> File:
    digest, size = digest_of(folder / name)
    return File(name, digest, size)
