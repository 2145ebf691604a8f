"""Questions that the cache by meaning took for one that was answered before, beside that one.

In shadow mode both were answered by the model, so a person can see what switching it on would do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from undercroft.errors import UndercroftError
from undercroft.lake.where import any_of
from undercroft.project import Project

_COLUMNS = ["id", "at", "subject", "alike", "cached", "question_sealed", "answer_sealed"]


@dataclass(frozen=True, slots=True)
class Taken:
    """A question ``taken`` for an earlier one. ``given`` says that it got the earlier answer; where
    it got its own, ``same_answer`` says whether that is the same text. What was erased is ""."""

    id: str
    at: datetime
    question: str
    earlier: str
    given: bool
    same_answer: bool


def taken(project: Project, limit: int = 50) -> list[Taken]:
    """The newest questions that were, or would have been, answered by an earlier answer."""
    table = project.lake.table("requests")
    if not table.exists() or "alike" not in table.schema.names:
        return []
    found = table.read(_COLUMNS, "alike IS NOT NULL AND alike != ''").to_pylist()
    newest = sorted(found, key=lambda row: row["at"], reverse=True)[:limit]
    origins = [row["alike"] for row in newest]
    earlier = {row["id"]: row for row in table.read(_COLUMNS, any_of("id", origins)).to_pylist()}
    return [_taken(project, row, earlier.get(row["alike"])) for row in newest]


def _taken(project: Project, row: Mapping[str, Any], earlier: Mapping[str, Any] | None) -> Taken:
    answers = {_opened(project, each, "answer") for each in (row, earlier)}
    return Taken(
        id=row["id"],
        at=row["at"],
        question=_opened(project, row, "question"),
        earlier=_opened(project, earlier, "question"),
        given=row["cached"],
        same_answer=len(answers) == 1,
    )


def _opened(project: Project, row: Mapping[str, Any] | None, what: str) -> str:
    if row is None:
        return ""
    try:
        sealed, aad = row[f"{what}_sealed"], f"{what}:{row['id']}".encode()
        return project.trust.vault.open(row["subject"], sealed, aad).decode()
    except UndercroftError:
        return ""
