"""Requests as they were answered: pages of them, and everything about one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from undercroft.errors import NotFound
from undercroft.monitor.satisfaction import Opinion, opinions_of
from undercroft.records import Finding, Passage
from undercroft.trust.sealed import opened

if TYPE_CHECKING:
    from undercroft.lake import Table
    from undercroft.project import Project

TABLE = "requests"


@dataclass(frozen=True, slots=True)
class RequestSummary:
    """One request without what was said. ``status`` is ok, error, blocked, shed or cancelled."""

    id: str
    at: datetime
    key: str
    route: str
    model: str
    kind: str
    status: str
    finish_reason: str
    cached: bool
    degraded: tuple[str, ...]
    queue_ms: float
    retrieve_ms: float
    ttft_ms: float
    total_ms: float
    prompt_tokens: int
    completion_tokens: int
    cost: float
    energy_wh: float


@dataclass(frozen=True, slots=True)
class AnswerTrace:
    """One answer and all that it came of. ``question`` and ``answer`` are None once the key of
    the person they are about was destroyed; passages carry no text (the documents table has it).
    """

    summary: RequestSummary
    subject: str
    question: str | None
    answer: str | None
    passages: tuple[Passage, ...]
    findings: tuple[Finding, ...]
    feedback: tuple[Opinion, ...]


_SUMMARY = tuple(RequestSummary.__dataclass_fields__)


def requests(
    project: Project, limit: int = 50, offset: int = 0, where: str | None = None
) -> list[RequestSummary]:
    """A page of requests, newest first; ``where`` is a filter of the lake."""
    table = project.lake.table(TABLE)
    if not table.exists() or limit <= 0:
        return []
    ids = _newest(table, limit, offset, where)
    from undercroft.lake import any_of

    rows = {row["id"]: row for row in table.read(_SUMMARY, any_of("id", ids)).to_pylist()}
    return [_summary(rows[name]) for name in ids if name in rows]


def answer(project: Project, answer_id: str) -> AnswerTrace:
    """The whole trace of one answer. Raises `NotFound` with the nearest ids."""
    from undercroft.lake import equals

    table = project.lake.table(TABLE)
    found = table.read(where=equals("id", answer_id), limit=1).to_pylist() if table.exists() else []
    if not found:
        known = [summary.id for summary in requests(project, 200)]
        raise NotFound(
            f"There is no answer {answer_id!r}.", answer_id, known,
            "Answers appear here within a second or two.",
        )  # fmt: skip
    (row,) = found
    return AnswerTrace(
        summary=_summary(row),
        subject=row["subject"],
        question=opened(project.trust.vault, row, "question"),
        answer=opened(project.trust.vault, row, "answer"),
        passages=tuple(Passage(**passage, text="") for passage in row["passages"] or ()),
        findings=tuple(Finding(**finding) for finding in row["findings"] or ()),
        feedback=tuple(opinions_of(project, answer_id)),
    )


def _newest(table: Table, limit: int, offset: int, where: str | None) -> Sequence[str]:
    """Ids of one page. Rows lie in the order they were recorded, which is nearly but not quite
    that of their times, so two narrow columns are sorted."""
    narrow = table.read(["id", "at"], where)
    page = narrow.sort_by([("at", "descending"), ("id", "ascending")]).slice(offset, limit)
    ids: list[str] = page["id"].to_pylist()
    return ids


def _summary(row: Mapping[str, Any]) -> RequestSummary:
    values = {name: row[name] for name in _SUMMARY}
    values["degraded"] = tuple(filter(None, (row["degraded"] or "").split(",")))
    return RequestSummary(**values)
