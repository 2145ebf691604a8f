"""The rows that serving writes: one per request, one per piece of feedback.

A `RequestRow` is begun when a request is admitted and filled in on its way; the columns are those
of `undercroft.lake.schemas.REQUESTS`. As JSON, a row says which table it belongs to.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

import msgspec

from undercroft.records import Finding, Passage


class PassageRow(msgspec.Struct, frozen=True):
    id: str
    document: str
    uri: str
    title: str
    start: int
    end: int
    score: float


class FindingRow(msgspec.Struct, frozen=True):
    kind: str
    start: int
    end: int
    score: float
    rule: str


class RequestRow(msgspec.Struct, tag="requests", tag_field="table"):
    """One request. Times are milliseconds since it arrived, cost in the currency of the meter.

    ``consent`` is ``store`` where the client agreed that the exchange be learnt from. ``alike`` is
    the request whose answer was given again to this question (``cached``), or would have been.
    """

    id: str
    at: datetime
    key: str
    subject: str
    route: str
    model: str
    kind: str
    question_sealed: bytes = b""
    answer_sealed: bytes = b""
    passages: list[PassageRow] = []
    findings: list[FindingRow] = []
    status: str = "error"
    finish_reason: str = ""
    cached: bool = False
    degraded: str = ""
    queue_ms: float = 0.0
    retrieve_ms: float = 0.0
    ttft_ms: float = 0.0
    total_ms: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    energy_wh: float = 0.0
    consent: str = ""
    alike: str = ""

    def degrade(self, what: str) -> None:
        """Note that a step fell back to its lesser form."""
        self.degraded = f"{self.degraded},{what}" if self.degraded else what


class FeedbackRow(msgspec.Struct, tag="feedback", tag_field="table"):
    """What somebody thought of an answer; ``rating`` is -1, 0 or 1."""

    id: str
    answer: str
    at: datetime
    key: str
    rating: int
    comment_sealed: bytes
    subject: str


Row = RequestRow | FeedbackRow

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Row).decode


def new_answer_id() -> str:
    return "ans-" + secrets.token_hex(10)


def now() -> datetime:
    return datetime.now(UTC)


def as_columns(row: Row) -> dict[str, Any]:
    """``row`` as plain values for Arrow; bytes and times stay what they are."""
    values: dict[str, Any] = msgspec.to_builtins(row, builtin_types=(bytes, datetime))
    del values["table"]
    return values


def passage_row(passage: Passage) -> PassageRow:
    return PassageRow(
        passage.id, passage.document, passage.uri, passage.title, passage.start, passage.end,
        passage.score,
    )  # fmt: skip


def finding_row(finding: Finding) -> FindingRow:
    return FindingRow(finding.kind, finding.start, finding.end, finding.score, finding.rule)
