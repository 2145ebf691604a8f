"""How far a trial is and what is said of it, from plain values, as the command line has them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from tests.trials.test_verdict import FINE, filled
from undercroft.settings import RolloutSettings
from undercroft.trials import words
from undercroft.trials.progress import progress
from undercroft.trials.report import as_html, conclusion
from undercroft.trials.tally import Outcome, Tally
from undercroft.trials.verdict import standing

SETTINGS = RolloutSettings(steps=[0.1, 0.5], step_pairs=40, step_minutes=1)
CUT = Outcome(False, False, True, 1.0, 0.001)


def told(tally: Tally, **more: Any) -> dict[str, Any]:
    """What `release.rollout.status` would tell, through JSON, 100 s after the beginning."""
    standings = [asdict(each) for each in standing(tally, SETTINGS)]
    status = {
        "kind": "rollout", "canary": "route:docs@2", "control": "route:docs@1", "share": 0.1,
        "status": "running", "reason": "two against one.", "step": 0, "step_at": 950.0,
        "started_at": 900.0, "started_by": "ada", "settings": SETTINGS.model_dump(mode="json"),
        "units": tally.units, "shadows": 0, "standings": standings, "version": 1, "by": "",
        "curve": [{"pairs": n, "standings": standings} for n in (10, tally.pairs)],
    }  # fmt: skip
    infinite = (
        json.dumps({**status, **more}).replace("-Infinity", "null").replace("Infinity", "null")
    )
    found: dict[str, Any] = json.loads(infinite)
    return found


def said(tally: Tally) -> dict[str, str]:
    return {each["measure"]: words.standing(each) for each in told(tally)["standings"]}


def test_the_same_words_for_every_way_a_measure_can_stand() -> None:
    assert set(said(filled(400)).values()) == {"no worse", "no data"}
    assert said(filled(400, CUT, 0.5))["unfinished"] == "harm"
    better = Tally()
    for number in range(200):
        better.add("canary", f"a{number}", FINE)
        better.add("control", f"b{number}", CUT)
    assert said(better)["unfinished"] == "better"
    assert said(filled(12))["errors"] == "open"
    assert said(filled(12))["unhappy"] == "no data"


def test_what_was_hardly_measured_is_not_called_well() -> None:
    """Costs are compared from thirty units on; before that nothing is known of their ratio."""
    few = {each["measure"]: each for each in told(filled(5))["standings"]}
    assert few["cost"]["high"] is None
    assert not few["cost"]["is_safe"]
    assert words.between(few["cost"]) == words.NONE
    free = filled(50, Outcome(False, False, False, 1.0, 0.0), 1.0)
    assert said(free)["cost"] == "better"


def test_evidence_of_a_ratio_begins_where_there_is_a_difference() -> None:
    at = {each["measure"]: each for each in told(filled(400))["standings"]}
    settings = told(filled(1))["settings"]
    assert words.harm(at["cost"], settings) == pytest.approx(0, abs=0.01)
    slow = filled(400, Outcome(False, False, False, 1.0, 0.01), 1.0)
    harmed = {each["measure"]: each for each in told(slow)["standings"]}
    assert harmed["cost"]["is_harm"]
    assert words.harm(harmed["cost"], settings) > 1


def test_it_says_what_it_waits_for() -> None:
    few = progress(told(filled(10)), 1000.0)
    assert (few.step, few.steps, few.pairs, few.wanted) == (1, 2, 10, 40)
    assert few.waits_for == "10 of 40 pairs that this step needs."
    assert few.pairs_s == pytest.approx(300)
    assert "minutes more" in progress(told(filled(40)), 960.0).waits_for
    last = told(filled(80), step=1, share=0.5)
    assert "Errors may be up to" in progress(last, 2000.0).waits_for
    assert progress(told(filled(400), step=1, share=0.5), 2000.0).waits_for == ""
    held = progress(told(filled(80), status="held"), 2000.0)
    assert held.is_open
    assert "Somebody has to decide" in held.waits_for
    unseen = progress(told(Tally(), share=0.0), 1000.0)
    assert (unseen.step, unseen.even) == (0, 1.0)
    assert "shadow requests" in unseen.waits_for
    over = progress(told(filled(80), status="rolled back"), 2000.0)
    assert (over.is_open, over.waits_for) == (False, "")


def test_uneven_arms_are_told() -> None:
    assert progress(told(filled(50), units={"canary": 300, "control": 100}), 1.0).even < 1e-6
    assert "by chance" in as_html(told(filled(50), units={"canary": 300, "control": 100}))


def test_the_page_draws_what_is_known_and_says_what_follows() -> None:
    page = as_html(told(filled(400, CUT, 0.5)))
    assert page.count("<svg") >= 3
    assert "harm in unfinished" in page
    assert conclusion(told(Tally())) == ""
    assert "<script" not in as_html(told(filled(30), reason="<script>alert(1)</script>"))
