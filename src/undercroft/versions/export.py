"""A dataset version as a folder that other tools read.

    data/train-00000-of-00001.parquet   the kept documents, masked (or .jsonl)
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

from undercroft.errors import BadInput, NotFound
from undercroft.lake.blobs import digest_of
from undercroft.lake.faults import told
from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.versions.card import card
from undercroft.versions.croissant import croissant

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


def export(
    project: Project,
    artifact: Artifact,
    folder: Path,
    form: Format = "parquet",
    tell: Tell = lambda *_: None,
    *,
    purpose: str = "",
) -> list[File]:
    """Write the kept documents of ``artifact`` into the new ``folder``; the files with digests.

    With a ``purpose``, those that may serve it, and the columns that it shows. ``tell`` hears of
    (rows written, rows in all). Raises `NotFound` for a purpose that the dataset does not have,
    `BadInput` when ``folder`` holds something, which is left as it is, and `StorageFull`.
    """
    purposes = artifact.meta.get("purposes", {})
    if purpose and purpose not in purposes:
        raise NotFound(
            f"{artifact} has no purpose {purpose!r}.", purpose, list(purposes),
            "Declare it as [curate.purposes.NAME], and make the dataset again with: undercroft up",
        )  # fmt: skip
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(
            f"{folder} is not empty.", "It was left as it is.", "Name a folder that is new."
        )
    making = folder.with_name(f".{folder.name}.making")
    with told(f"export {artifact} to {folder}"):
        try:
            files = _make(project, artifact, making, form, tell, purpose=purpose)
            if folder.exists():
                folder.rmdir()
            making.rename(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return files


def _make(
    project: Project, artifact: Artifact, folder: Path, form: Format, tell: Tell, *, purpose: str
) -> list[File]:
    from undercroft.lake import read_dataset

    documents = read_dataset(project.lake, artifact, purpose=purpose)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "data").mkdir(parents=True)
    files: list[File] = []
    done = 0
    for name, part in _parts(documents, form):
        _write(part, folder / name, form)
        files.append(_file(folder, name))
        done += part.num_rows
        tell(done, documents.num_rows)
    text = card(project, artifact, f"data/*.{form}")
    (folder / "README.md").write_text(text, encoding="utf-8")
    described = json.dumps(croissant(artifact, documents.schema, files, form), indent=2)
    (folder / "croissant.json").write_text(described + "\n", encoding="utf-8")
    return files


def _parts(documents: pa.Table, form: Format) -> Iterator[tuple[str, pa.Table]]:
    count = max(1, -(-documents.num_rows // FILE_ROWS))
    for number in range(count):
        name = f"data/train-{number:05}-of-{count:05}.{form}"
        yield name, documents.slice(number * FILE_ROWS, FILE_ROWS)


def _write(part: pa.Table, path: Path, form: Format) -> None:
    if form == "parquet":
        import pyarrow.parquet as pq

        # Pages cut by content: stores that keep each chunk once see two versions as one.
        pq.write_table(part, path, compression="zstd", use_content_defined_chunking=True)
        return
    with path.open("w", encoding="utf-8") as lines:
        for row in part.to_pylist():
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")


def _file(folder: Path, name: str) -> File:
    digest, size = digest_of(folder / name)
    return File(name, digest, size)
