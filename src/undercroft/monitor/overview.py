"""The last minutes in one record: load, speed, failures, opinions, cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from undercroft.project import Project


_COLUMNS = (
    "status", "kind", "cached", "degraded", "total_ms", "ttft_ms", "prompt_tokens",
    "completion_tokens", "cost", "energy_wh",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Overview:
    """Traffic of the last ``minutes``. Percentiles are of answers that were generated and went
    well (None without any); ``failed`` counts errors, not what was refused or given up."""

    minutes: float
    requests: int
    by_status: Mapping[str, int]
    failed: int
    cached: int
    degraded: int
    total_ms_p50: float | None
    total_ms_p99: float | None
    ttft_ms_p50: float | None
    ttft_ms_p99: float | None
    prompt_tokens: int
    completion_tokens: int
    cost: float
    energy_wh: float
    thumbs_up: int
    thumbs_down: int


def overview(project: Project, minutes: float = 60.0, now: datetime | None = None) -> Overview:
    """What happened between ``minutes`` ago and ``now``."""
    from undercroft.lake import quote

    until = now or datetime.now(UTC)
    within = f"at > {quote(until - timedelta(minutes=minutes))} AND at <= {quote(until)}"
    rows = _read(project, "requests", _COLUMNS, within)
    ratings = [row["rating"] for row in _read(project, "feedback", ("rating",), within)]
    by_status = Counter(row["status"] for row in rows)
    generated = [
        row
        for row in rows
        if row["status"] == "ok" and not row["cached"] and row["kind"] != "embedding"
    ]
    totals = sorted(row["total_ms"] for row in generated)
    firsts = sorted(row["ttft_ms"] for row in generated if row["ttft_ms"])
    return Overview(
        minutes=minutes,
        requests=len(rows),
        by_status=dict(by_status),
        failed=by_status["error"],
        cached=sum(row["cached"] for row in rows),
        degraded=sum(bool(row["degraded"]) for row in rows),
        total_ms_p50=percentile(totals, 0.50),
        total_ms_p99=percentile(totals, 0.99),
        ttft_ms_p50=percentile(firsts, 0.50),
        ttft_ms_p99=percentile(firsts, 0.99),
        prompt_tokens=sum(row["prompt_tokens"] for row in rows),
        completion_tokens=sum(row["completion_tokens"] for row in rows),
        cost=sum(row["cost"] for row in rows),
        energy_wh=sum(row["energy_wh"] for row in rows),
        thumbs_up=ratings.count(1),
        thumbs_down=ratings.count(-1),
    )


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile of ``ordered``; None of nothing."""
    if not ordered:
        return None
    rank = max(1, -(-len(ordered) * share // 1))
    return ordered[int(rank) - 1]


def _read(project: Project, name: str, columns: Sequence[str], where: str) -> list[dict[str, Any]]:
    table = project.lake.table(name)
    rows: list[dict[str, Any]] = table.read(columns, where).to_pylist() if table.exists() else []
    return rows
