"""What people thought of answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from undercroft.trust.sealed import opened

if TYPE_CHECKING:
    from undercroft.project import Project

TABLE = "feedback"


@dataclass(frozen=True, slots=True)
class Opinion:
    """One rating (-1, 0 or 1) of an answer; ``comment`` is None once its key was destroyed."""

    answer: str
    at: datetime
    key: str
    rating: int
    comment: str | None


@dataclass(frozen=True, slots=True)
class FeedbackSummary:
    """Ratings counted. They are self-selected: few rate, and rather when displeased."""

    up: int
    down: int
    neutral: int
    comments: int
    rated_share: float  # of all answers
    newest: tuple[Opinion, ...]


def feedback_summary(project: Project, newest: int = 20) -> FeedbackSummary:
    """All feedback in numbers, and the ``newest`` pieces opened."""
    rows = _rows(project)
    ratings = [row["rating"] for row in rows]
    requests = project.lake.table("requests")
    answered = requests.count("kind != 'embedding'") if requests.exists() else 0
    rated = len({row["answer"] for row in rows})
    rows.sort(key=lambda row: row["at"], reverse=True)
    return FeedbackSummary(
        up=ratings.count(1),
        down=ratings.count(-1),
        neutral=ratings.count(0),
        comments=sum(bool(row["comment_sealed"]) for row in rows),
        rated_share=rated / answered if answered else 0.0,
        newest=tuple(_opinion(project, row) for row in rows[:newest]),
    )


def opinions_of(project: Project, answer: str) -> list[Opinion]:
    """What was said about one answer, newest first."""
    from undercroft.lake import equals

    rows = sorted(_rows(project, equals("answer", answer)), key=lambda row: row["at"], reverse=True)
    return [_opinion(project, row) for row in rows]


def _rows(project: Project, where: str | None = None) -> list[dict[str, Any]]:
    table = project.lake.table(TABLE)
    rows: list[dict[str, Any]] = table.read(where=where).to_pylist() if table.exists() else []
    return rows


def _opinion(project: Project, row: Mapping[str, Any]) -> Opinion:
    comment = opened(project.trust.vault, row, "comment")
    return Opinion(row["answer"], row["at"], row["key"], row["rating"], comment)
