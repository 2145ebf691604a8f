from __future__ import annotations

from typing import Any

import pytest

from undercroft.errors import BadConfig
from undercroft.release import judge
from undercroft.settings import ReleaseSettings

SETTINGS = ReleaseSettings()


def evaluation(significant: bool = True, **pairs: tuple[float, float]) -> dict[str, Any]:
    """A scorecard's summary with ``metric=(base, tuned)``; answer_f1 improves unless given."""
    lower = {"repetition", "answer_perplexity", "kept_law_perplexity"}
    pairs = {"answer_f1": (0.33, 0.65), "grounded": (0.6, 0.8), **pairs}
    return {
        "base": {name: base for name, (base, _) in pairs.items()},
        "tuned": {name: tuned for name, (_, tuned) in pairs.items()},
        "differences": {
            name: {
                "difference": tuned - base,
                "low": tuned - base - 0.1,
                "high": tuned - base + 0.1,
                "cases": 40,
                "significant": significant,
                "better": (tuned < base) if name in lower else (tuned > base),
                "lower_is_better": name in lower,
            }
            for name, (base, tuned) in pairs.items()
        },
    }


def test_significantly_better_is_released_with_its_numbers() -> None:
    verdict = judge(evaluation(), SETTINGS)
    assert verdict.released
    assert verdict.reason == (
        "answer_f1 0.330 → 0.650 on 40 cases, interval of the difference +0.220 to +0.420."
    )


def test_worse_or_equal_is_not_released() -> None:
    for tuned in (0.20, 0.33):
        verdict = judge(evaluation(answer_f1=(0.33, tuned)), SETTINGS)
        assert not verdict.released
        assert "not better than the base" in verdict.reason


def test_better_by_chance_is_not_released_unless_allowed() -> None:
    maybe = evaluation(significant=False, answer_f1=(0.33, 0.36))
    assert not judge(maybe, SETTINGS).released
    assert "may be chance" in judge(maybe, SETTINGS).reason
    assert judge(maybe, ReleaseSettings(require_significance=False)).released


def test_a_regression_elsewhere_stops_the_release_and_is_named() -> None:
    verdict = judge(evaluation(grounded=(0.80, 0.70)), SETTINGS)
    assert not verdict.released
    assert "grounded 0.800 → 0.700 fell back" in verdict.reason
    assert judge(evaluation(grounded=(0.80, 0.76)), SETTINGS).released


def test_a_regression_that_may_be_chance_stops_the_release_only_where_chance_counts() -> None:
    maybe = evaluation(refused_unanswerable=(0.25, 0.0))
    maybe["differences"]["refused_unanswerable"]["significant"] = False
    assert judge(maybe, SETTINGS).released
    assert not judge(maybe, ReleaseSettings(require_significance=False)).released


def test_what_is_better_when_low_regresses_upwards() -> None:
    assert not judge(evaluation(repetition=(0.0, 0.1)), SETTINGS).released
    assert judge(evaluation(repetition=(0.5, 0.0)), SETTINGS).released


def test_a_model_that_forgot_a_text_it_should_keep_is_not_released() -> None:
    forgot = judge(evaluation(kept_law_perplexity=(20.0, 26.0)), SETTINGS)
    assert not forgot.released
    assert "kept_law_perplexity 20.000 → 26.000 fell back" in forgot.reason
    assert judge(evaluation(kept_law_perplexity=(20.0, 15.0)), SETTINGS).released


def test_perplexity_is_judged_by_its_ratio() -> None:
    assert judge(evaluation(answer_perplexity=(20.0, 20.9)), SETTINGS).released
    assert not judge(evaluation(answer_perplexity=(20.0, 21.1)), SETTINGS).released


def test_a_lower_is_better_metric_can_be_the_one_that_counts() -> None:
    settings = ReleaseSettings(metric="answer_perplexity")
    assert judge(evaluation(answer_perplexity=(20.0, 10.0)), settings).released
    assert not judge(evaluation(answer_perplexity=(10.0, 20.0)), settings).released


def test_an_unmeasured_metric_gets_the_nearest_name() -> None:
    with pytest.raises(BadConfig, match="nearest is 'answer_f1'"):
        judge(evaluation(), ReleaseSettings(metric="anser_f1"))


def test_a_metric_that_is_not_judged_is_no_reason_to_refuse() -> None:
    evaluation = {
        "base": {"answer_f1": 0.1, "refused_answerable": 0.0},
        "tuned": {"answer_f1": 0.6, "refused_answerable": 0.2},
        "differences": {
            "answer_f1": {
                "difference": 0.5, "low": 0.4, "high": 0.6, "cases": 28,
                "significant": True, "better": True, "lower_is_better": False,
            },
            "refused_answerable": {
                "difference": 0.2, "low": 0.1, "high": 0.3, "cases": 28,
                "significant": True, "better": False, "lower_is_better": True,
            },
        },
    }  # fmt: skip
    assert judge(evaluation, ReleaseSettings(not_judged=["refused_answerable"])).released
    strict = judge(evaluation, ReleaseSettings())
    assert not strict.released
    assert "refused_answerable 0.000 → 0.200" in strict.reason
