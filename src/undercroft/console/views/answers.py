"""Answers: the list, and the trace of one from its question to what it cost."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from undercroft.console.views.documents import Source, sources
from undercroft.console.views.lists import PAGE_SIZE, Paged
from undercroft.errors import NotFound, Tampered
from undercroft.lake import any_of, equals, quote
from undercroft.project import Project
from undercroft.retrieve.prompt import citations

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
class Opinion:
    at: datetime
    rating: int
    comment: str


@dataclass(frozen=True)
class AnswerPage:
    """One answer's trace. ``timings`` are its consecutive parts in milliseconds; ``transcript``
    is the whole conversation that ``question`` ended."""

    id: str
    at: datetime
    question: str | None
    transcript: str | None
    answer: str | None
    sources: Sequence[Source]
    timings: Sequence[tuple[str, float]]
    findings: Sequence[Mapping[str, Any]]
    feedback: Sequence[Opinion]
    detail: Mapping[str, Any]


@dataclass(frozen=True)
class Today:
    """The last 24 hours in a few numbers."""

    answers: int
    failed: int
    median_ms: float | None
    energy_wh: float
    thumbs_up: int
    thumbs_down: int


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
    """The whole trace of one answer; raises `NotFound`."""
    table = project.lake.table(REQUESTS)
    rows = table.read(where=equals("id", answer_id), limit=1).to_pylist() if table.exists() else []
    if not rows:
        raise NotFound(f"There is no answer {answer_id}.", do="See the list of answers.")
    row = rows[0]
    text = opened(project, row, "answer")
    transcript = opened(project, row, "question")
    return AnswerPage(
        id=row["id"],
        at=row["at"],
        question=last_question(transcript),
        transcript=transcript,
        answer=text,
        sources=sources(project, row["passages"] or [], citations(text or "")),
        timings=timings(row),
        findings=row["findings"] or [],
        feedback=_opinions(project, answer_id),
        detail={key: value for key, value in row.items() if not key.endswith("_sealed")},
    )


def today(project: Project, hours: float = 24) -> Today | None:
    """The last ``hours`` of traffic; None before the first answer."""
    import pyarrow.compute as pc

    table = project.lake.table(REQUESTS)
    if not table.exists():
        return None
    since = f"at >= {quote(datetime.now(UTC) - timedelta(hours=hours))}"
    rows = table.read(["status", "total_ms", "energy_wh"], since)
    median = pc.quantile(rows["total_ms"], 0.5)[0].as_py() if rows.num_rows else None
    opinions = project.lake.table(FEEDBACK)
    thumbs = opinions.read(["rating"], since)["rating"].to_pylist() if opinions.exists() else []
    return Today(
        answers=rows.num_rows,
        failed=sum(status not in GOOD for status in rows["status"].to_pylist()),
        median_ms=median,
        energy_wh=pc.sum(rows["energy_wh"]).as_py() or 0.0,
        thumbs_up=thumbs.count(1),
        thumbs_down=thumbs.count(-1),
    )


def timings(row: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Where an answer's time went; what was not measured counts to the part after it."""
    queue, retrieve = row["queue_ms"] or 0.0, row["retrieve_ms"] or 0.0
    total = row["total_ms"] or 0.0
    first = min(total, max(row["ttft_ms"] or 0.0, 0.0))
    reading = max(0.0, first - queue - retrieve)
    writing = max(0.0, total - max(first, queue + retrieve))
    return [
        ("Waiting", queue),
        ("Retrieving", retrieve),
        ("Reading", reading),
        ("Writing", writing),
    ]


def last_question(transcript: str | None) -> str | None:
    """What was asked last in a conversation that the gateway wrote down turn by turn."""
    if transcript is None or not _TURN.match(transcript):
        return transcript
    return _TURN.split(transcript)[-1].strip() if _USER_TURN.search(transcript) else transcript


def opened(project: Project, row: Mapping[str, Any], column: str) -> str | None:
    """What ``<column>_sealed`` holds; None where there is nothing or its key was destroyed."""
    sealed = row.get(f"{column}_sealed")
    if not sealed:
        return None
    try:
        aad = f"{column}:{row['id']}".encode()
        return project.trust.vault.open(row["subject"] or "", sealed, aad).decode()
    except NotFound:
        return None
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
        question=last_question(opened(project, row, "question")),
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


def _opinions(project: Project, answer_id: str) -> list[Opinion]:
    table = project.lake.table(FEEDBACK)
    if not table.exists():
        return []
    rows = table.read(where=equals("answer", answer_id)).to_pylist()
    rows.sort(key=lambda row: row["at"], reverse=True)
    return [
        Opinion(row["at"], row["rating"] or 0, opened(project, row, "comment") or "")
        for row in rows
    ]
