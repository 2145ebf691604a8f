from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.evaluate.test_answers import CASE, GOLD, OTHER
from undercroft.evaluate.ask import Question
from undercroft.evaluate.bootstrap import compare_means, compare_perplexities
from undercroft.evaluate.journal import Answered
from undercroft.evaluate.scorecard import score
from undercroft.settings import EvaluateSettings

SETTINGS = EvaluateSettings()


def test_a_clear_difference_is_significant_and_noise_is_not() -> None:
    noise = np.random.default_rng(1).normal(0, 0.2, 48)
    base = np.full(48, 0.4)
    assert compare_means(base, base + 0.2 + noise, SETTINGS).significant
    assert not compare_means(base, base + noise - noise.mean(), SETTINGS).significant
    assert not compare_means(base, base, SETTINGS).significant


def test_the_interval_is_the_same_every_time_and_holds_the_difference() -> None:
    draw = np.random.default_rng(2)
    base, tuned = draw.random(30), draw.random(30)
    one, two = (compare_means(base, tuned, SETTINGS) for _ in range(2))
    assert one == two
    assert one.low < one.difference < one.high


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(3)
    settings = SETTINGS.model_copy(update={"resamples": 500})
    hits = 0
    for _ in range(300):
        pair = draw.normal(0.0, 1.0, 40), draw.normal(0.3, 1.0, 40)
        found = compare_means(*pair, settings)
        hits += found.low <= 0.3 <= found.high
    assert 0.90 <= hits / 300 <= 0.98


def test_few_cases_are_never_evidence() -> None:
    assert not compare_means(np.zeros(7), np.ones(7), SETTINGS).significant
    assert compare_means(np.zeros(8), np.ones(8), SETTINGS).significant


def test_perplexity_is_per_token_over_all_cases() -> None:
    tokens = np.array([10.0, 30.0])
    found = compare_perplexities(np.array([20.0, 60.0]), np.array([10.0, 30.0]), tokens, SETTINGS)
    assert found.base == pytest.approx(np.exp(2))
    assert found.tuned == pytest.approx(np.exp(1))


def asked(number: int, *, answerable: bool = True) -> Question:
    case = replace(CASE, id=f"c{number}", answerable=answerable)
    return Question(case, (OTHER, GOLD))


def said(number: int, text: str, nll: float = 0.0) -> Answered:
    return Answered("m", f"c{number}", text, "stop", 100, 10, 0.1, nll, 10 if nll else 0)


def test_a_scorecard_tells_both_models_apart_case_by_case() -> None:
    questions = [asked(n) for n in range(9)] + [asked(9, answerable=False)]
    base = {f"c{n}": said(n, "It rambles on and on and on and on.", 30.0) for n in range(9)}
    tuned = {f"c{n}": said(n, "wrap the execution of a block [2]", 10.0) for n in range(9)}
    base["c9"], tuned["c9"] = said(9, "Yes."), said(9, "The documents do not say.")
    card = score(questions, base, tuned, SETTINGS)
    summary = card.evaluation
    assert summary["tuned"]["answer_f1"] == 1.0
    assert summary["tuned"]["cited"] == 1.0
    assert summary["base"]["answer_perplexity"] == pytest.approx(np.exp(3), rel=1e-3)
    assert summary["tuned"]["refused_unanswerable"] == 1.0
    assert summary["tuned"]["refused_answerable"] == 0.0
    assert summary["base"]["repetition"] > 0
    assert summary["significant"] is True
    assert summary["differences"]["repetition"]["better"] is True
    assert summary["differences"]["answer_perplexity"]["difference"] < 0
    assert summary["retrieval"] == {"hit_rate": 1.0, "mrr": 0.5, "k": 2}
    assert (summary["cases"], summary["unanswerable"]) == (10, 1)
    row = card.cases[0]
    assert row["tuned"]["answer"] == "wrap the execution of a block [2]"
    assert row["tuned"]["scores"]["answer_f1"] == 1.0
    assert row["gold"]["rank"] == 2
    assert "answer_f1" not in card.cases[9]["tuned"]["scores"]


def test_what_no_case_measures_is_none_rather_than_zero() -> None:
    card = score([asked(0)], {"c0": said(0, "x")}, {"c0": said(0, "x")}, SETTINGS)
    assert card.evaluation["base"]["refused_unanswerable"] is None
    assert card.evaluation["base"]["answer_perplexity"] is None
    assert "refused_unanswerable" not in card.evaluation["differences"]


def test_a_worse_model_is_never_called_significantly_better() -> None:
    questions = [asked(n) for n in range(12)]
    good = {f"c{n}": said(n, CASE.answer) for n in range(12)}
    bad = {f"c{n}": said(n, "no") for n in range(12)}
    summary = score(questions, good, bad, SETTINGS).evaluation
    assert summary["differences"]["answer_f1"]["significant"] is True
    assert summary["significant"] is False
