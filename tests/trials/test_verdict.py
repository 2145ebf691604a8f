"""What becomes of a trial: pure, from what both arms did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from undercroft.errors import BadInput, NotFound
from undercroft.settings import RolloutSettings
from undercroft.trials import trial as trials
from undercroft.trials.assignment import CANARY, CONTROL
from undercroft.trials.tally import Outcome, Tally
from undercroft.trials.trial import Trial
from undercroft.trials.verdict import Verdict, judge

FINE = Outcome(False, False, False, 1.0, 0.001)
SETTINGS = RolloutSettings(steps=[0.1, 0.5], step_pairs=40, step_minutes=1)


def filled(pairs: int, canary: Outcome = FINE, share: float = 0.0, seed: int = 0) -> Tally:
    """Fine pairs, but ``share`` of the canary's requests went like ``canary``."""
    draw = np.random.default_rng(seed)
    tally = Tally()
    for number in range(pairs):
        tally.add(CANARY, f"a{number}", canary if draw.random() < share else FINE)
        tally.add(CONTROL, f"b{number}", FINE)
    return tally


def verdict(tally: Tally, *, step: int = 0, step_s: float = 100, total_s: float = 100) -> Verdict:
    return judge(tally, SETTINGS, step=step, step_s=step_s, total_s=total_s)


def test_a_step_needs_pairs_and_time_and_then_the_next_begins() -> None:
    assert verdict(filled(39)).action == "wait"
    assert "39 of 40 pairs" in verdict(filled(39)).reason
    assert verdict(filled(40), step_s=59).action == "wait"
    assert verdict(filled(40)).action == "advance"


def test_the_last_step_ends_only_with_proof() -> None:
    soon = verdict(filled(80), step=1)
    assert (soon.action, "Not yet shown" in soon.reason) == ("wait", True)
    late = verdict(filled(400), step=1)
    assert late.action == "promote", late.reason
    assert all(each.is_safe for each in late.standings if each.measure in SETTINGS.must_pass)


@pytest.mark.parametrize(
    ("bad", "measure"),
    [
        (Outcome(True), "errors"),
        (Outcome(False, True, False, 1.0, 0.001), "findings"),
        (Outcome(False, False, True, 1.0, 0.001), "unfinished"),
        (Outcome(False, False, False, 30.0, 0.001), "latency"),
        (Outcome(False, False, False, 1.0, 0.1), "cost"),
    ],
)
def test_each_kind_of_harm_rolls_back_and_says_what_it_was(bad: Outcome, measure: str) -> None:
    share = 0.12 if measure == "errors" else 0.5
    found = verdict(filled(400, bad, share))
    assert found.action == "roll back"
    assert measure in found.reason


def test_unhappy_users_are_harm_too() -> None:
    tally = filled(60)
    for number in range(60):
        tally.add_rating(CANARY, f"a{number}", -1)
        tally.add_rating(CONTROL, f"b{number}", 1)
    assert "unhappy 0.0% → 100.0%" in verdict(tally).reason


def test_failures_in_a_row_need_no_statistics() -> None:
    tally = filled(3)
    for number in range(5):
        tally.add(CANARY, "the same unit", Outcome(True))
        assert verdict(tally).action == ("roll back" if number == 4 else "wait")


def test_one_unit_counts_once_however_much_it_asks() -> None:
    tally = filled(30)
    for _ in range(200):
        tally.add(CANARY, "loud", Outcome(False, True, False, 1.0, 0.001))
    assert tally.units == {CANARY: 31, CONTROL: 30}
    assert verdict(tally).action == "wait"


def test_arms_that_fill_unevenly_hold_the_trial() -> None:
    tally = filled(100)
    for number in range(200):
        tally.add(CONTROL, f"more {number}", FINE)
    found = verdict(tally)
    assert (found.action, "100 and 300 units" in found.reason) == ("hold", True)


@pytest.mark.parametrize("outcome", ["hold", "roll back"])
def test_too_little_traffic_has_an_outcome(outcome: Any) -> None:
    settings = RolloutSettings(undecided=outcome, deadline_hours=1)
    found = judge(filled(5), settings, step=0, step_s=9, total_s=3600)
    assert found.action == outcome
    assert "5 pairs" in found.reason


def test_a_tally_goes_on_from_what_was_written_down() -> None:
    tally = filled(50, Outcome(True), 0.3)
    tally.add(CANARY, "odd", FINE)
    again = Tally.of(json.loads(json.dumps(tally.state())))
    assert again.state() == tally.state()
    assert verdict(again) == verdict(tally)


def a_trial() -> Trial:
    return Trial(
        id="t1", kind="rollout", canary="route:docs@2", control="route:docs@1",
        settings=SETTINGS.model_dump(), started_by="ada", started_at=1.0,
    )  # fmt: skip


def test_one_trial_at_a_time_and_every_change_is_whole(tmp_path: Path) -> None:
    assert trials.read(tmp_path) is None
    with pytest.raises(NotFound, match="release start"):
        trials.change(tmp_path, lambda found: found)
    trials.begin(tmp_path, a_trial())
    with pytest.raises(BadInput, match="one at a time"):
        trials.begin(tmp_path, a_trial())
    ended = trials.change(
        tmp_path, lambda found: msgspec.structs.replace(found, status="rolled back")
    )
    assert (ended.version, ended.is_open) == (2, False)
    assert trials.read(tmp_path) == ended
    assert trials.change(tmp_path, lambda found: found).version == 2
    trials.begin(tmp_path, a_trial())


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / trials.FILE).write_text("{")
    with pytest.raises(BadInput, match=r"trial\.json"):
        trials.read(tmp_path)
