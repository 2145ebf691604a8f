"""Turns of a trial and the log of its outcomes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.ledger.conftest import Make
from undercroft.errors import NotFound
from undercroft.ledger import Ledger, turns


def turn(ledger: Ledger, trial: str, state: bytes, *, wins: bool, route: str = "") -> bytes:
    decision: dict[str, Any] = {
        "kind": "rollout", "subject": route or "route:docs@1", "verdict": state.decode(),
        "reason": "", "evidence": {}, "actor": "gateway",
    }  # fmt: skip
    alias = (route, "live") if route else None
    return ledger.take_turn(
        "docs", trial, state, lambda there: wins, alias=alias, decision=decision
    )


def test_the_turn_that_comes_first_stands_and_is_the_only_one_decided(
    ledger: Ledger, make: Make
) -> None:
    first, second = (str(make("route").ref) for _ in range(2))
    assert turn(ledger, "t1", b"begun", wins=False) == b"begun"
    assert turn(ledger, "t1", b"promoted", wins=True, route=first) == b"promoted"
    assert turn(ledger, "t1", b"undone", wins=False, route=second) == b"promoted"
    assert turn(ledger, "t1", b"promoted", wins=False, route=first) == b"promoted"  # told by two
    assert ledger.trial("docs") == b"promoted"
    assert ledger.trial("other") is None
    assert str(ledger.artifact("route:docs@live").ref) == first
    assert [each.verdict for each in ledger.decisions()] == ["promoted", "begun"]


def test_a_turn_is_taken_whole_or_not_at_all(ledger: Ledger) -> None:
    with pytest.raises(NotFound):
        turn(ledger, "t1", b"promoted", wins=True, route="route:nowhere@1")
    assert ledger.trial("docs") is None
    assert not ledger.decisions()


def test_the_log_has_no_gaps_and_goes_with_its_trial(ledger: Ledger) -> None:
    turn(ledger, "t1", b"begun", wins=True)

    def write(gateway: str) -> None:
        for number in range(5):
            turns.append(ledger.engine, "t1", gateway, f"{gateway}{number}".encode())

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(write, "abc"))
    lines = turns.after(ledger.engine, "t1", 0)
    assert [each.place for each in lines] == list(range(1, 16))
    assert sorted(each.batch for each in lines)[:2] == [b"a0", b"a1"]
    assert turns.after(ledger.engine, "t1", 13) == lines[13:]
    turn(ledger, "t1", b"step", wins=True)
    assert len(turns.after(ledger.engine, "t1", 0)) == 15
    turn(ledger, "t2", b"begun", wins=True)
    assert not turns.after(ledger.engine, "t1", 0)
