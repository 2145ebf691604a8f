"""What a trial counts of a finished request."""

from __future__ import annotations

from dataclasses import dataclass

from undercroft.serve.journal.rows import RequestRow
from undercroft.trials.tally import Outcome

OWN_FAULTS = ("error", "shed")  # not the client's: a trial counts them as errors


@dataclass(slots=True)
class Seen:
    """What is not told of a request by its row: how many of its findings are the client's own."""

    input_findings: int = 0


def outcome_of(row: RequestRow, seen: Seen) -> Outcome:
    """What a trial counts of a finished request; a fallback's answer is the canary's failure."""
    if row.status in OWN_FAULTS or "fallback" in row.degraded:
        return Outcome(is_error=True)
    is_whole = row.finish_reason in ("stop", "tool_calls") and "abstained" not in row.degraded
    return Outcome(
        False, len(row.findings) > seen.input_findings, not is_whole,
        row.ttft_ms / 1000 if not row.cached else None, row.cost if not row.cached else None,
    )  # fmt: skip
