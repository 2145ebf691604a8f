from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.train.samples.data import Sampler
from undercroft.train.schedule import MIN_STEPS, Schedule


def test_the_rate_rises_then_falls_to_zero() -> None:
    schedule = Schedule(1.0, 0.25, budget_s=60, max_steps=100)
    rates = []
    while schedule.steps_left:
        rates.append(schedule.rate())
        schedule.advance(1.0)
    assert len(rates) == 100
    assert max(rates) == pytest.approx(1.0, abs=0.03)
    assert rates.index(max(rates)) in (24, 25)
    assert rates[0] < 0.03
    assert rates[-1] < 0.01


@given(
    st.floats(1, 300), st.lists(st.floats(0.01, 20), min_size=400, max_size=400), st.floats(0, 0.9)
)
def test_a_budget_is_kept_whatever_steps_take(
    budget_s: float, seconds: list[float], warmup: float
) -> None:
    schedule = Schedule(1.0, warmup, budget_s)
    for step_s in seconds:
        if not schedule.steps_left:
            break
        before = schedule.elapsed_s
        assert schedule.step < MIN_STEPS or before <= budget_s
        assert 0 <= schedule.rate() <= 1
        assert schedule.progress <= 1
        schedule.advance(step_s)


def test_a_machine_that_slows_down_takes_fewer_steps_not_more_time() -> None:
    schedule = Schedule(1.0, 0.1, budget_s=100)
    while schedule.steps_left:
        schedule.advance(1.0 if schedule.step < 20 else 5.0)
    assert schedule.elapsed_s == pytest.approx(100, abs=5)
    assert schedule.progress == pytest.approx(1.0, abs=0.1)


def test_its_state_is_all_of_it() -> None:
    schedule = Schedule(1.0, 0.1, budget_s=10)
    for seconds in (3.0, 1.0, 1.1):
        schedule.advance(seconds)
    assert Schedule(**schedule.state()) == schedule


def test_a_sampler_gives_every_item_once_each_time_round_and_resumes_anywhere() -> None:
    sampler = Sampler(7, seed=1)
    order = [next(sampler) for _ in range(21)]
    rounds = [order[:7], order[7:14], order[14:]]
    assert all(sorted(each) == list(range(7)) for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1
    later = Sampler(7, seed=1, position=9)
    assert [next(later) for _ in range(12)] == order[9:]
