"""What a dataset left out, why, and by how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from undercroft.project import Project
    from undercroft.records import Artifact

#: By the rules about copies, the column with the document that stays.
_ORIGINALS: Final = {
    "near_duplicate": "near_duplicate_of",
    "contained": "near_duplicate_of",
    "exact_duplicate": "exact_duplicate_of",
    "same_url": "same_url_as",
    "semantic_duplicate": "semantic_duplicate_of",
}


@dataclass(frozen=True, slots=True)
class Removed:
    """One document that the policy removed.

    ``rule`` held with the measured ``value``; ``original`` is the address of the document that
    this one repeats, where that is the reason.
    """

    id: str
    uri: str
    title: str
    rule: str
    value: str
    original: str = ""


def removed(
    project: Project,
    artifact: Artifact,
    limit: int = 50,
    offset: int = 0,
    rule: str | None = None,
) -> list[Removed]:
    """A page of the documents that the dataset ``artifact`` left out, by address."""
    import pyarrow.compute as pc

    from undercroft.lake import any_of, read_selection

    selection = read_selection(project.lake, artifact)
    gone = selection.filter(pc.invert(selection["kept"]))
    if rule is not None:
        gone = gone.filter(pc.equal(gone["rule"], rule))
    held = [name for name in set(_ORIGINALS.values()) if name in gone.column_names]
    page = gone.select(["id", "rule", "value", *held]).slice(offset, limit).to_pylist()
    for row in page:
        row["original"] = row.get(_ORIGINALS.get(row["rule"], "")) or ""
    named = {row["id"] for row in page} | {row["original"] for row in page if row["original"]}
    documents = {
        row["id"]: row
        for row in project.lake.table(str(artifact.meta["table"]))
        .read(["id", "uri", "title"], any_of("id", named), int(artifact.meta["version"]))
        .to_pylist()
    }
    return [_removed(row, documents) for row in page if row["id"] in documents]  # else: erased


def _removed(row: dict[str, Any], documents: dict[str, dict[str, Any]]) -> Removed:
    document = documents[row["id"]]
    original = documents.get(row["original"], {})
    return Removed(
        row["id"],
        document["uri"],
        document["title"],
        row["rule"],
        row["value"],
        original.get("uri", ""),
    )
