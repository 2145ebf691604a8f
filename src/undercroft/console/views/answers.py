"""Answers: the list, and the trace of one from its question to what it cost."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from undercroft import monitor
from undercroft.console.views.documents import Source, sources
from undercroft.console.views.lists import PAGE_SIZE, Paged
from undercroft.errors import Tampered
from undercroft.lake import any_of, equals
from undercroft.monitor import AnswerTrace, Overview, RequestSummary
from undercroft.project import Project
from undercroft.retrieve.prompt import citations
from undercroft.trust.sealed import opened

if TYPE_CHECKING:
    from undercroft.lake import Table

_TURN = re.compile(r"(?:^|\n\n)(?:system|developer|user|assistant): ")
_USER_TURN = re.compile(r"(?:^|\n\n)user: ")

REQUESTS, FEEDBACK = "requests", "feedback"
FILTERS = ("down", "up", "failed", "findings")
GOOD = ("ok",)
_LIST_COLUMNS = (
    "id", "at", "subject", "question_sealed", "model", "kind", "status", "total_ms", "cached",
    "completion_tokens",
)  # fmt: skip


@dataclass(frozen=True)
class AnswerRow:
    """``question`` is None where its key was destroyed on request."""

    id: str
    at: datetime
    question: str | None
    model: str
    status: str
    total_ms: float
    completion_tokens: int
    cached: bool
    rating: int


@dataclass(frozen=True)
class AnswerList:
    answers: Paged[AnswerRow]
    filter: str


@dataclass(frozen=True)
class AnswerPage:
    """One answer's trace. ``question`` is the last of the conversation that ``trace.question``
    holds; ``timings`` are consecutive parts in milliseconds."""

    trace: AnswerTrace
    question: str | None
    sources: Sequence[Source]
    timings: Sequence[tuple[str, float]]


def listed(project: Project, page: int = 1, chosen: str = "") -> AnswerList:
    """One page of the answers, newest first; ``chosen`` is one of `FILTERS` or nothing."""
    chosen = chosen if chosen in FILTERS else ""
    table = project.lake.table(REQUESTS)
    if not table.exists():
        return AnswerList(Paged([], 0, page), chosen)
    where = _where(project, chosen)
    total = table.count(where)
    rows = _newest(table, where, total, page)
    ratings = _ratings(project, [row["id"] for row in rows])
    shown = [_row(project, row, ratings.get(row["id"], 0)) for row in rows]
    return AnswerList(Paged(shown, total, page), chosen)


def one(project: Project, answer_id: str) -> AnswerPage:
    """The whole trace of one answer; raises `NotFound` and `Tampered`."""
    trace = monitor.answer(project, answer_id)
    passages = [asdict(passage) for passage in trace.passages]
    return AnswerPage(
        trace=trace,
        question=last_question(trace.question),
        sources=sources(project, passages, citations(trace.answer or "")),
        timings=timings(trace.summary),
    )


def today(project: Project, hours: float = 24) -> Overview | None:
    """The last ``hours`` of traffic; None before the first answer."""
    if not project.lake.table(REQUESTS).exists():
        return None
    return monitor.overview(project, minutes=hours * 60)


def timings(summary: RequestSummary) -> list[tuple[str, float]]:
    """Where an answer's time went; what was not measured counts to the part after it."""
    total = summary.total_ms
    found = min(total, summary.queue_ms + summary.retrieve_ms)
    first = min(total, max(summary.ttft_ms, found))
    return [
        ("Waiting", summary.queue_ms),
        ("Retrieving", summary.retrieve_ms),
        ("Reading", first - found),
        ("Writing", total - first),
    ]


def last_question(transcript: str | None) -> str | None:
    """What was asked last in a conversation that the gateway wrote down turn by turn."""
    if transcript is None or not _TURN.match(transcript):
        return transcript
    return _TURN.split(transcript)[-1].strip() if _USER_TURN.search(transcript) else transcript


def _asked(project: Project, row: Mapping[str, Any]) -> str | None:
    try:
        return last_question(opened(project.trust.vault, row, "question"))
    except Tampered:
        return "(this is not what was written; see: undercroft audit verify)"


def _where(project: Project, chosen: str) -> str | None:
    if chosen == "failed":
        return f"NOT ({any_of('status', GOOD)})"
    if chosen == "findings":
        return "array_length(findings) > 0"
    if chosen in {"up", "down"}:
        opinions = project.lake.table(FEEDBACK)
        if not opinions.exists():
            return "false"
        wanted = equals("rating", 1 if chosen == "up" else -1)
        return any_of("id", set(opinions.read(["answer"], wanted)["answer"].to_pylist()))
    return None


def _newest(table: Table, where: str | None, total: int, page: int) -> list[dict[str, Any]]:
    """The rows of one page. The table is append-only, so the newest stand at its end."""
    last = total - (page - 1) * PAGE_SIZE
    if last <= 0:
        return []
    first = max(0, last - PAGE_SIZE)
    read = table.read(_LIST_COLUMNS, where, limit=last - first, offset=first)
    rows: list[dict[str, Any]] = read.to_pylist()
    return sorted(rows, key=lambda row: row["at"], reverse=True)


def _row(project: Project, row: Mapping[str, Any], rating: int) -> AnswerRow:
    return AnswerRow(
        id=row["id"],
        at=row["at"],
        question=_asked(project, row),
        model=row["model"] or "",
        status=row["status"] or "",
        total_ms=row["total_ms"] or 0.0,
        completion_tokens=row["completion_tokens"] or 0,
        cached=bool(row["cached"]),
        rating=rating,
    )


def _ratings(project: Project, answers: Sequence[str]) -> dict[str, int]:
    """The last rating of each of ``answers`` that has one."""
    table = project.lake.table(FEEDBACK)
    if not answers or not table.exists():
        return {}
    rows = table.read(["answer", "at", "rating"], any_of("answer", answers)).to_pylist()
    rows.sort(key=lambda row: row["at"])
    return {row["answer"]: row["rating"] for row in rows if row["rating"]}
