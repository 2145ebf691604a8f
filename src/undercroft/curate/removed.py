"""What a dataset left out, why, and by how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from undercroft.project import Project
    from undercroft.records import Artifact


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
    page = gone.select(["id", "rule", "value"]).slice(offset, limit).to_pylist()
    table = project.lake.table(str(artifact.meta["table"]))
    version = int(artifact.meta["version"])
    columns = ["id", "uri", "title", "near_duplicate_of", "exact_duplicate_of"]
    documents = {
        row["id"]: row
        for row in table.read(columns, any_of("id", [r["id"] for r in page]), version).to_pylist()
    }
    copied = {row["near_duplicate_of"] or row["exact_duplicate_of"] for row in documents.values()}
    addresses = {
        row["id"]: row["uri"]
        for row in table.read(["id", "uri"], any_of("id", copied - {None}), version).to_pylist()
    }
    found = []
    for row in page:
        document = documents.get(row["id"])
        if document is None:
            continue  # erased since
        original = document["near_duplicate_of"] or document["exact_duplicate_of"]
        is_copy = row["rule"] in ("near_duplicate", "contained", "exact_duplicate")
        found.append(
            Removed(
                row["id"],
                document["uri"],
                document["title"],
                row["rule"],
                row["value"],
                addresses.get(original, "") if is_copy else "",
            )
        )
    return found
