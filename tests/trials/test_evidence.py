"""Evidence and bounds that may be looked at all the time: are they right that often?"""

from __future__ import annotations

import math

import numpy as np
import pytest

from undercroft.trials.assignment import CANARY, CONTROL, REST, arm_of, drawn, mismatch, point_of
from undercroft.trials.bounds import Spread, counts_at, log_likelihood_ratio, mean_bounds
from undercroft.trials.evidence import SHARES, Pairing, Pairs
from undercroft.trials.power import plan


def test_the_evidence_is_the_mean_of_what_each_bet_won() -> None:
    pairs = Pairs(worse=7, better=2, both=1, neither=30)
    margin = 0.03
    shares = SHARES / (1 + margin)
    won = [
        (1 + b * (1 - margin)) ** 7 * (1 - b * margin) ** 31 * (1 - b * (1 + margin)) ** 2
        for b in shares
    ]
    assert pairs.log_evidence(margin) == pytest.approx(math.log(sum(won) / len(won)))


def test_no_pair_says_nothing() -> None:
    assert Pairs().log_evidence() == pytest.approx(0)
    assert Pairs().bounds(0.05) == (-1.0, 1.0)


def test_evidence_falls_with_the_margin_and_bounds_enclose_what_was_seen() -> None:
    pairs = Pairs(worse=60, better=20, both=5, neither=415)
    said = [pairs.log_evidence(margin) for margin in np.linspace(-0.9, 0.9, 19)]
    assert said == sorted(said, reverse=True)
    low, high = pairs.bounds(0.05)
    assert low < pairs.canary - pairs.control < high
    assert low > 0, "40 more in 500 is no chance"
    mirrored = pairs.mirrored.bounds(0.05)
    assert mirrored == pytest.approx((-high, -low), abs=1e-9)


def test_looking_after_every_pair_finds_harm_where_there_is_none_as_rarely_as_it_says() -> None:
    """500 trials whose rates drift together, looked at after each of 1,000 pairs."""
    draw = np.random.default_rng(7)
    alpha = 0.1
    rates = 0.05 + 0.1 * np.sin(np.linspace(0, 9, 1000)) ** 2
    canary, control = (draw.random((500, 1000)) < rates for _ in range(2))
    alarms = 0
    for mine, theirs in zip(canary, control, strict=True):
        worse, better = np.cumsum(mine & ~theirs), np.cumsum(theirs & ~mine)
        money = np.exp(np.outer(worse, np.log1p(SHARES)) + np.outer(better, np.log1p(-SHARES)))
        alarms += bool((money.mean(axis=1) >= 1 / alpha).any())
    assert alarms / 500 < alpha
    assert alarms > 0, "a test that never fires would pass too"


def test_outcomes_are_paired_in_their_order_however_they_arrive() -> None:
    pairing = Pairing()
    for is_canary, is_bad in [(True, True), (True, False), (False, False), (False, True)]:
        pairing.add(is_canary, is_bad)
    pairing.add(False, True)
    assert pairing.pairs == Pairs(worse=1, better=1)
    pairing.add(True, True)
    assert pairing.pairs == Pairs(worse=1, better=1, both=1)


def test_the_likelihood_ratio_is_the_integral_over_all_rates() -> None:
    grid = (np.arange(200_000) + 0.5) / 200_000
    mean = (grid**4 * (1 - grid) ** 9).mean() / (0.4**4 * 0.6**9)
    assert log_likelihood_ratio(4, 13, 0.4) == pytest.approx(math.log(mean), abs=1e-6)
    assert log_likelihood_ratio(1, 3, 0.0) == math.inf


def test_a_quantiles_bounds_hold_at_all_times() -> None:
    draw = np.random.default_rng(3)
    right, misses = math.exp(1.2816), 0
    for _ in range(60):
        spread = Spread()
        is_missed = False
        for count, value in enumerate(draw.lognormal(0, 1, 600), 1):
            spread.add(float(value))
            if count % 20 == 0:
                low, high = spread.quantile_bounds(0.9, 0.1)
                is_missed |= not low <= right <= high
        misses += is_missed
        assert right / 2 < low < high < right * 2.5, "bounds that say nothing hold too"
    assert misses <= 6


def test_a_spread_knows_quantiles_to_two_percent_in_little_memory() -> None:
    values = np.random.default_rng(0).lognormal(0, 2, 20_000)
    spread = Spread()
    for value in values:
        spread.add(float(value))
    for share in (0.1, 0.5, 0.9, 0.99):
        assert spread.quantile(share) == pytest.approx(np.quantile(values, share), rel=0.03)
    assert len(spread.bins) < 1000
    low, high = counts_at(0.9, 1000, 0.05)
    assert low < 900 < high


def test_a_mean_is_enclosed_once_there_are_numbers_enough() -> None:
    assert mean_bounds(5.0, 5.0, 5, 0.05) == (-math.inf, math.inf)
    low, high = mean_bounds(3000.0, 10_000.0, 1000, 0.05)
    assert low < 3 < high < 3.5


def test_a_unit_keeps_its_arm_as_shares_grow() -> None:
    points = {unit: point_of("trial", unit) for unit in map(str, range(5000))}
    arms = [{unit: arm_of(point, share) for unit, point in points.items()} for share in (0.05, 0.5)]
    moved = [unit for unit, arm in arms[0].items() if arm not in (REST, arms[1][unit])]
    assert not moved
    counts = [sum(arm == name for arm in arms[0].values()) for name in (CANARY, CONTROL)]
    assert counts == [pytest.approx(250, abs=60)] * 2
    assert REST not in arms[1].values()


def test_units_are_drawn_by_weight() -> None:
    found = [drawn(point_of("s", str(n)), [("a", 3.0), ("b", 1.0)]) for n in range(4000)]
    assert found.count("a") == pytest.approx(3000, abs=120)


def test_arms_that_fill_unevenly_are_noticed_and_even_ones_are_not() -> None:
    assert mismatch({CANARY: 5050, CONTROL: 4950}) < math.log(10)
    assert mismatch({CANARY: 5400, CONTROL: 4600}) > math.log(1000)
    assert mismatch({}) == 0


def test_the_plan_says_how_long_it_takes() -> None:
    """Against trials that were really run: the median of 200."""
    draw = np.random.default_rng(1)
    rate, change, alpha = 0.05, 0.05, 0.01
    found = []
    for _ in range(200):
        mine, theirs = draw.random(4000) < rate + change, draw.random(4000) < rate
        worse, better = np.cumsum(mine & ~theirs), np.cumsum(theirs & ~mine)
        money = np.outer(worse, np.log1p(SHARES)) + np.outer(better, np.log1p(-SHARES))
        found.append(int(np.argmax(np.exp(money).mean(axis=1) >= 1 / alpha)))
    expected = plan(rate, change, alpha=alpha, share=0.1)
    assert expected.pairs == pytest.approx(np.median(found), rel=0.2)
    assert expected.units == pytest.approx(10 * expected.pairs, rel=0.01)
    assert 0.8 <= np.mean(np.array(found) <= expected.pairs_likely) <= 0.97
    assert expected.units_likely == pytest.approx(10 * expected.pairs_likely, rel=0.01)
    better = plan(0.05, -0.02, alpha=alpha, share=0.1)
    assert better.pairs == plan(0.03, 0.02, alpha=alpha, share=0.1).pairs
    assert plan(0.05, 0, alpha=alpha, share=0.1).pairs == 0
