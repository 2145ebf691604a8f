"""Is a dataset still what was made? Selection against the ledger, rows against the selection.

The ledger's audit log vouches for the digest of the selection, the selection for the digest of
every row. Files are compared too, since a flipped byte may lie where no row does. A file that is
gone is no damage: merging and erasing write others, and the rows must still be the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from undercroft.errors import NotFound, Tampered, UndercroftError
from undercroft.project import Project
from undercroft.records import Artifact

if TYPE_CHECKING:
    import pyarrow as pa

Tell = Callable[[int, int], None]
_BATCH_ROWS = 1024


@dataclass
class Verified:
    """What was found: ``damaged`` ids say something else, ``missing`` ones went without an
    erasure, ``erased`` ones by one; ``files`` of the table are not what was written; ``problem``
    is why rows could not be compared at all."""

    ref: str
    rows: int = 0
    damaged: list[str] = field(default_factory=list[str])
    missing: list[str] = field(default_factory=list[str])
    erased: list[str] = field(default_factory=list[str])
    files: list[str] = field(default_factory=list[str])
    problem: str = ""

    @property
    def intact(self) -> bool:
        return not (self.damaged or self.missing or self.files or self.problem)


def verify(project: Project, artifact: Artifact, tell: Tell = lambda *_: None) -> Verified:
    """Read and rehash all of ``artifact``; ``tell`` hears of (rows done, rows in all)."""
    from undercroft.lake import read_selection

    found = Verified(str(artifact.ref))
    try:
        project.lake.blobs.verify(artifact.uri, artifact.digest)
        chosen = read_selection(project.lake, artifact)
    except (Tampered, NotFound) as error:
        found.problem = f"{error.what} {error.why}".strip()
        return found
    if "digest" not in chosen.column_names:
        found.problem = "It was made before digests of rows were kept; make it again."
        return found
    found.files = _changed_files(project, artifact)
    expected = dict(zip(chosen["id"].to_pylist(), chosen["digest"].to_pylist(), strict=True))
    total = len(expected)
    try:
        for batch in _rows(project, artifact):
            _compare(batch, expected, found)
            tell(found.rows, total)
    except (OSError, ValueError, RuntimeError, UndercroftError) as error:
        found.problem = f"The table cannot be read: {_first_line(error)}"
        return found
    for name in expected:
        gone = found.erased if _is_erased(project, name) else found.missing
        gone.append(name)
    return found


def _rows(project: Project, artifact: Artifact) -> Iterator[pa.RecordBatch]:
    table = project.lake.table(str(artifact.meta["table"]))
    dataset = table.dataset(int(artifact.meta["version"]), cached=False)
    yield from dataset.scanner(batch_size=_BATCH_ROWS).to_batches()


def _compare(batch: pa.RecordBatch, expected: dict[str, bytes], found: Verified) -> None:
    """Take the rows of ``batch`` out of ``expected``, noting those that differ."""
    from undercroft.lake.rows import digests

    now = digests(batch).to_pylist()
    for name, digest in zip(batch["id"].to_pylist(), now, strict=True):
        if expected.pop(name, None) != digest:
            found.damaged.append(name)
        found.rows += 1


def _changed_files(project: Project, artifact: Artifact) -> list[str]:
    from undercroft.lake.blobs import digest_of

    folder = Path(project.lake.table(str(artifact.meta["table"])).uri)
    recorded: dict[str, str] = artifact.meta.get("files", {})
    return [
        name
        for name, digest in recorded.items()
        if (folder / name).exists() and digest_of(folder / name)[0] != digest
    ]


def _is_erased(project: Project, document: str) -> bool:
    return bool(project.ledger.decisions(f"document:{document}", "forget", limit=1))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
