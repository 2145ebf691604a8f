"""Progress says how fast and how long, once."""

from __future__ import annotations

from datetime import UTC, datetime

from undercroft.cli.live import amount, pace
from undercroft.records import Progress


def at(done: float, total: float | None, note: str = "") -> Progress:
    return Progress("run", done, total, "documents", note, datetime.now(UTC))


def test_pace_is_speed_and_time_left() -> None:
    assert pace(at(50, 150), 10) == "5.0 documents/s, 20 s left"
    assert pace(at(500, 1500, "reading"), 10) == "50 documents/s, 20 s left, reading"


def test_a_stage_that_says_its_own_time_left_is_not_contradicted() -> None:
    assert pace(at(5, 15, "loss 1.2, 300 tokens/s, 40 s left"), 10).count("left") == 1


def test_nothing_is_promised_of_what_cannot_be_known() -> None:
    assert pace(at(5, None, "crawling"), 10) == "crawling"
    assert pace(at(0, 10), 10) == ""
    assert amount(at(5, None)) == "5 documents"
