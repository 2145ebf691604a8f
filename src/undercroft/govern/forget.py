"""Erasing one document, and saying honestly what still holds something of it.

The decision is written first: from then on no collection takes the document in again, and a killed
erasure is finished by repeating it. Rows leave every version of every table and their bytes leave
the disk. What was made from the document is listed, not changed, since artifacts are immutable and
a model cannot be made to unlearn: the next main job makes new ones without it.
"""

from __future__ import annotations

from dataclasses import dataclass

from undercroft.govern.thread import answers_using, document_row, raws_with
from undercroft.lake import equals
from undercroft.project import Project

FORGET = "forget"
QUOTING = ("examples", "suite", "scorecard", "lessons")
"""Kinds of artifact that hold passages of documents word for word, or what is likely in them."""

TABLES = {"raw": "id", "documents": "id", "meanings": "id", "vectors": "document"}


@dataclass(frozen=True, slots=True)
class Erasure:
    """What one erasure did: rows erased by table, and the refs of everything it had reached."""

    document: str
    uri: str
    erased: dict[str, int]
    artifacts: list[str]
    holding: list[str]
    answers: list[str]


def forget(project: Project, document: str, *, reason: str, actor: str = "local") -> Erasure:
    """Erase ``document`` from raw, documents, vectors and caches.

    A gateway that is running drops its cached answers within a second, since it follows the
    decision. Raises `NotFound` when there is no such document.
    """
    row = document_row(project, document)
    reached = _reached(project, document)
    answers = [f"answer:{answer['id']}" for answer in answers_using(project, document)]
    project.ledger.decide(
        FORGET,
        f"document:{document}",
        "erased",
        reason,
        {"artifacts": reached, "answers": len(answers)},
        actor,
    )
    erased = {}
    for name, column in TABLES.items():
        table = project.lake.table(name)
        erased[name] = table.purge(equals(column, document)).rows if table.exists() else 0
    holding = [ref for ref in reached if ref.partition(":")[0] in QUOTING]
    return Erasure(document, row["uri"], erased, reached, holding, answers)


def _reached(project: Project, document: str) -> list[str]:
    """Every artifact made, directly or not, from a raw version that held the document."""
    refs: dict[str, None] = {}
    for raw in raws_with(project, document):
        refs[str(raw.ref)] = None
        for node in project.ledger.lineage(raw.ref, "down").nodes:
            if node.kind != "run":
                refs[node.label] = None
    return list(refs)
