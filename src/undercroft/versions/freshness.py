"""How fresh the data is, and how far it has moved from what the served assistant was made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from undercroft.errors import NotFound
from undercroft.project import Project
from undercroft.records import Artifact


@dataclass(frozen=True, slots=True)
class Freshness:
    """One source in the newest dataset; ``age_s`` is since a document of it last changed.

    ``added``, ``edited`` and ``gone`` count kept documents against the dataset behind what is
    served, of which ``drift`` is the share: 0 says that the same is served, 1 that all is new.
    """

    source: str
    documents: int
    age_s: float
    added: int = 0
    edited: int = 0
    gone: int = 0

    @property
    def drift(self) -> float:
        return (self.added + self.edited + self.gone) / max(self.documents + self.gone, 1)


def freshness(project: Project, dataset: Artifact, served: Artifact | None) -> list[Freshness]:
    """Every source of ``dataset``, by name, beside the dataset ``served`` where there is one."""
    now = _kept(project, dataset)
    before = _kept(project, served) if served is not None else now
    counts: dict[str, Counter[str]] = {}
    for document in {*now, *before}:
        source, digest = now.get(document) or before[document]
        kind = "same"
        if document not in now:
            kind = "gone"
        elif document not in before:
            kind = "added"
        elif before[document][1] != digest:
            kind = "edited"
        counts.setdefault(source, Counter())[kind] += 1
    ages = _ages(project)
    return [
        Freshness(
            source,
            found.total() - found["gone"],
            ages.get(source, 0.0),
            found["added"],
            found["edited"],
            found["gone"],
        )
        for source, found in sorted(counts.items())
    ]


def drift_of(sources: list[Freshness]) -> float:
    """The drift of all sources together."""
    moved = sum(each.added + each.edited + each.gone for each in sources)
    return moved / max(sum(each.documents + each.gone for each in sources), 1)


def served_dataset(project: Project, route: Artifact | None) -> Artifact | None:
    """The dataset behind the index of ``route``; None where nothing is served or it is gone."""
    if route is None:
        return None
    try:
        index = project.ledger.artifact(str(route.meta["index"]))
        inputs = project.ledger.run_of(index).inputs
        return next(project.ledger.artifact(ref) for ref in inputs if ref.kind == "dataset")
    except (NotFound, KeyError, StopIteration):
        return None


def _kept(project: Project, artifact: Artifact) -> Mapping[str, tuple[str, bytes]]:
    """Source and digest of the documents that ``artifact`` keeps, by id."""
    from undercroft.lake import read_selection

    selection = read_selection(project.lake, artifact)
    kept = selection.filter(selection["kept"])
    table = project.lake.table(str(artifact.meta["table"]))
    rows = table.read(["id", "source"], version=int(artifact.meta["version"]))
    sources = dict(zip(rows["id"].to_pylist(), rows["source"].to_pylist(), strict=True))
    ids, digests = kept["id"].to_pylist(), kept["digest"].to_pylist()
    return {name: (sources.get(name, ""), d) for name, d in zip(ids, digests, strict=True)}


def _ages(project: Project) -> dict[str, float]:
    """Seconds since a document of each source was last new or changed."""
    table = project.lake.table("raw")
    if not table.exists():
        return {}
    newest = table.read(["source", "fetched_at"]).group_by("source")
    rows: list[dict[str, Any]] = newest.aggregate([("fetched_at", "max")]).to_pylist()
    now = datetime.now(UTC)
    return {row["source"]: (now - row["fetched_at_max"]).total_seconds() for row in rows}
