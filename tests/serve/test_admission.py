"""Who is next, what gives way, and what is learnt of engines: all without waiting."""

import random

import pytest

from undercroft.serve.admission.breaker import Breaker
from undercroft.serve.admission.claim import LANES, Claim
from undercroft.serve.admission.limiter import Limiter
from undercroft.serve.admission.line import Line, Waiter
from undercroft.serve.admission.pace import Pace
from undercroft.serve.admission.recent import Allowance, Recent

WEIGHTS = {"interactive": 8.0, "batch": 2.0, "background": 1.0}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def waiter(lane="interactive", tenant="a", since=0.0, cost=100, share=1.0) -> Waiter:
    claim = Claim(lane, 1e9, tenant=tenant, share=share, tokens=cost // 2, cost=cost)
    return Waiter(claim, since, None)  # type: ignore[arg-type]


def line_of(*waiters: Waiter, aging_s: float = 15.0) -> Line:
    line = Line(WEIGHTS, aging_s)
    for each in waiters:
        line.add(each)
    return line


def drain(line: Line, count: int, now: float = 0.0) -> list[Claim]:
    return [line.next(now, lambda _: True).claim for _ in range(count)]


def test_lanes_are_served_by_weight_and_none_is_left_out():
    line = line_of(*(waiter(lane) for lane in LANES for _ in range(100)))
    served = [claim.lane for claim in drain(line, 110)]
    assert served[:4] == ["interactive"] * 4
    counts = {lane: served.count(lane) for lane in LANES}
    assert counts == {"interactive": 80, "batch": 20, "background": 10}


def test_a_lane_that_was_empty_saves_nothing_up():
    line = line_of(*(waiter() for _ in range(50)))
    drain(line, 40)
    for _ in range(20):
        line.add(waiter("batch"))
    assert sum(claim.lane == "batch" for claim in drain(line, 10)) <= 2


def test_a_long_wait_is_next_whatever_its_lane():
    line = line_of(waiter("background", since=0.0), *(waiter(since=19.0) for _ in range(20)))
    assert drain(line, 1, now=20.0)[0].lane == "background"


def test_a_tenant_with_a_flood_of_requests_does_not_starve_another():
    line = line_of(*(waiter(tenant="flood") for _ in range(50)))
    for _ in range(5):
        line.add(waiter(tenant="small"))
    first = [claim.tenant for claim in drain(line, 30)]
    assert first.count("small") == 5, "ten requests of 100 tokens are one visit's worth"


def test_tenants_share_tokens_not_requests_and_by_their_shares():
    line = line_of(
        *(waiter(tenant="long", cost=4000) for _ in range(300)),
        *(waiter(tenant="short", cost=500) for _ in range(300)),
        *(waiter(tenant="double", cost=1000, share=2.0) for _ in range(300)),
    )
    tokens = {"long": 0, "short": 0, "double": 0}
    for claim in drain(line, 280):
        tokens[claim.tenant] += claim.cost
    assert tokens["short"] == pytest.approx(tokens["long"], rel=0.1)
    assert tokens["double"] == pytest.approx(2 * tokens["long"], rel=0.1)


def test_everybody_who_stays_is_served_once_whatever_comes_and_goes():
    draw = random.Random(7)
    line, inside, served = Line(WEIGHTS, 15.0), [], []
    for step in range(2000):
        action = draw.random()
        if action < 0.5:
            fresh = waiter(
                draw.choice(LANES), draw.choice("abcd"), step, draw.choice((0, 50, 90_000, 10**9))
            )
            inside.append(fresh)
            line.add(fresh)
        elif inside and action < 0.6:
            line.leave(inside.pop(draw.randrange(len(inside))))
        elif (one := line.next(step, lambda _: True)) is not None:
            inside.remove(one)
            served.append(one)
        assert len(line) == len(inside)
        assert line.tokens == sum(each.claim.tokens for each in inside)
    assert len(set(map(id, served))) == len(served) > 500


def test_a_lane_that_may_not_be_served_is_passed_over():
    line = line_of(waiter("batch"), waiter("background"))
    assert line.next(0.0, lambda lane: lane == "background").claim.lane == "background"
    assert line.next(0.0, lambda lane: lane == "interactive") is None


def test_the_lowest_lane_gives_way_first_and_the_newest_of_it():
    line = line_of(waiter(), waiter("background", since=1), waiter("background", since=2))
    assert line.gives_way(waiter("batch").claim).since == 2
    assert line.gives_way(waiter("batch").claim).since == 1
    assert line.gives_way(waiter("batch").claim) is None, "people's requests stay"
    assert line.gives_way(waiter("background").claim) is None


def test_in_one_lane_the_longest_queue_gives_way_to_a_shorter_one():
    line = line_of(*(waiter(tenant="flood", since=n) for n in range(4)))
    assert line.gives_way(waiter(tenant="flood").claim) is None
    assert line.gives_way(waiter(tenant="small").claim).since == 3
    assert len(line) == 3


def test_a_breaker_opens_for_broken_ends_and_one_probe_closes_it():
    clock = Clock()
    breaker = Breaker(5, 1.0, clock)
    for _ in range(4):
        breaker.ended(False)
    assert breaker.lets_in
    breaker.ended(False)
    assert not breaker.lets_in
    clock.now += 1.0
    assert breaker.lets_in
    assert breaker.enter(), "this one tries"
    assert not breaker.lets_in, "a second does not"
    breaker.ended(False, is_probe=True)
    assert breaker.rest_s == pytest.approx(2.0)
    clock.now += 2.0
    assert breaker.enter()
    breaker.ended(None, is_probe=True)  # its client hung up: nobody knows
    assert breaker.lets_in
    assert breaker.enter()
    breaker.ended(True, is_probe=True)
    assert breaker.is_closed


def test_a_breaker_stays_closed_while_most_answers_are_whole():
    breaker = Breaker(5, 1.0)
    for number in range(100):
        breaker.ended(number % 3 != 0)
    assert breaker.is_closed


def test_extra_work_is_bounded_by_the_work_there_is():
    clock = Clock()
    asked = Recent(10.0, clock)
    allowance = Allowance(0.2, 10, asked)
    assert sum(allowance.take() for _ in range(50)) == 10
    clock.now += 20
    for _ in range(200):
        asked.add()
    assert sum(allowance.take() for _ in range(100)) == 40
    clock.now += 20
    assert sum(allowance.take() for _ in range(50)) == 10


def test_a_recent_count_forgets():
    clock = Clock()
    recent = Recent(10.0, clock)
    for _ in range(100):
        recent.add()
    clock.now += 15
    assert recent.count == pytest.approx(50)
    clock.now += 5
    assert recent.count == 0


def settled(capacity: int, demand: int, windows: int = 600, first: int = 2) -> Limiter:
    """A limiter in front of a simulated engine: up to ``capacity`` at once take 0.1 s to their
    first text, more take in proportion longer."""
    clock, draw = Clock(), random.Random(3)
    limiter = Limiter(first, 256, clock)
    for _ in range(windows):
        active = min(demand, limiter.limit)
        for _ in range(10):
            limiter.sample(0.1 * max(1.0, active / capacity) * draw.uniform(0.9, 1.1), active)
        clock.now += 0.3
        limiter.sample(0.1 * max(1.0, active / capacity), active)
    return limiter


@pytest.mark.parametrize("capacity", [4, 16, 64])
def test_the_limit_finds_what_an_engine_takes_and_stays_there(capacity):
    limits = [settled(capacity, 1000, windows).limit for windows in (500, 2000, 4000)]
    assert all(capacity <= limit <= 3 * capacity + 4 for limit in limits), limits


def test_the_limit_stays_alone_while_hardly_used_and_falls_when_the_engine_refuses():
    assert settled(64, 3, first=20).limit == 20
    limiter = Limiter(20, 256)
    for _ in range(10):
        limiter.dropped()
    assert limiter.limit < 10


def test_a_pace_is_unknown_until_answers_were_seen():
    pace = Pace()
    assert (pace.answer_s, pace.tokens_per_s, pace.late_s) == (None, None, None)
    for number in range(100):
        pace.answered(2.0)
        pace.began(number / 100)
        pace.read(100, 0.5, at_once=2)
    assert pace.answer_s == pytest.approx(2.0)
    assert pace.tokens_per_s == pytest.approx(400)
    assert pace.late_s == pytest.approx(0.94)
