"""Slots, the queue in front of them, and replicas that die."""

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import pytest

from undercroft.errors import EngineFailed
from undercroft.serve.admission.claim import Claim
from undercroft.serve.admission.ladder import Load
from undercroft.serve.generation import in_order
from undercroft.serve.hedging import hedged
from undercroft.serve.pools.pool import Pool
from undercroft.serve.pools.route import Arm
from undercroft.serve.pools.scaling import Scaler
from undercroft.serve.wire.failures import TooManyRequests
from undercroft.serve.wire.pieces import Piece
from undercroft.settings import AdmissionSettings, SamplingSettings


@dataclass
class Bench:
    """A replica without an engine: it can be broken, and it counts its starts."""

    slots: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    local: bool = True
    url: str = "http://bench"
    starts: int = 0
    up: bool = False
    broken: bool = False
    reacts: bool = True
    cpu: float = 0.0

    async def start(self) -> None:
        self.starts += 1
        if self.broken:
            raise EngineFailed("It does not start.")
        self.up = True

    def alive(self) -> bool:
        return self.up

    async def responsive(self, timeout_s: float) -> bool:
        return self.reacts

    def cpu_s(self) -> float:
        return self.cpu

    async def stop(self) -> None:
        self.up = False


async def pool_of(
    *replicas: Bench,
    queue: int = 4,
    timeout_s: float = 2.0,
    rules: AdmissionSettings | None = None,
) -> Pool:
    pool = Pool("model:m@1", replicas, queue, timeout_s, rules=rules)
    await pool.start()
    return pool


def claim(lane: str = "interactive", seconds: float = 5.0, **said: Any) -> Claim:
    return Claim(lane, time.monotonic() + seconds, **said)


async def hold(
    pool: Pool, release: asyncio.Event, lane: str = "interactive", tokens: int = 0
) -> None:
    async with pool.slot(claim(lane, tokens=tokens)):
        await release.wait()


async def break_off(pool: Pool) -> None:
    async with pool.slot(claim()):
        raise EngineFailed("It broke off.")


async def test_requests_go_to_the_least_busy_replica():
    one, two = Bench(slots=2), Bench(slots=2)
    pool = await pool_of(one, two)
    async with (
        pool.slot(claim()) as first,
        pool.slot(claim()) as second,
    ):
        assert {id(first.replica), id(second.replica)} == {id(one), id(two)}
    await pool.stop(0)


async def test_waiters_are_served_in_order_and_interactive_before_batch():
    pool = await pool_of(Bench())
    served: list[str] = []

    async def ask(name: str, lane: str) -> None:
        async with pool.slot(claim(lane)):
            served.append(name)

    async with pool.slot(claim()):
        tasks = []
        for name, lane in (("b1", "batch"), ("i1", "interactive"), ("i2", "interactive")):
            tasks.append(asyncio.create_task(ask(name, lane)))
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert served == ["i1", "i2", "b1"]
    await pool.stop(0)


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back():
    pool = await pool_of(Bench(), queue=1)
    with pool.admit(claim()), pool.admit(claim()):
        began = time.monotonic()
        with pytest.raises(TooManyRequests) as refused, pool.admit(claim()):
            pass
        assert time.monotonic() - began < 0.005
        assert 0 < refused.value.retry_after_s <= 60
    await pool.stop(0)


async def test_waiting_has_a_time_limit():
    pool = await pool_of(Bench(), timeout_s=0.1)
    release = asyncio.Event()
    holder = asyncio.create_task(hold(pool, release))
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests):
        async with pool.slot(claim()):
            pass
    assert pool.waiting == 0
    release.set()
    await holder
    await pool.stop(0)


async def test_a_waiter_that_is_cancelled_disturbs_nobody():
    pool = await pool_of(Bench())
    release = asyncio.Event()
    running = asyncio.create_task(hold(pool, release))
    await asyncio.sleep(0)
    leaver = asyncio.create_task(hold(pool, asyncio.Event()))
    stayer = asyncio.create_task(hold(pool, release))
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    assert not running.done()
    assert pool.waiting == 1
    release.set()
    await asyncio.wait_for(asyncio.gather(running, stayer), 1)
    assert pool.busy == 0
    await pool.stop(0)


async def test_a_slot_handed_to_a_waiter_that_leaves_in_that_moment_is_not_lost():
    pool = await pool_of(Bench())
    release = asyncio.Event()
    running = asyncio.create_task(hold(pool, release))
    await asyncio.sleep(0)
    leaver = asyncio.create_task(hold(pool, asyncio.Event()))
    await asyncio.sleep(0)
    release.set()
    while pool.waiting:  # handed over, but the waiter has not run yet
        await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.gather(running, leaver, return_exceptions=True)
    assert pool.busy == 0
    async with asyncio.timeout(1), pool.slot(claim()):
        pass
    await pool.stop(0)


async def test_a_replica_that_dies_is_started_again_and_its_waiters_are_served():
    replica = Bench()
    pool = await pool_of(replica)
    replica.up = False
    await asyncio.sleep(0.15)
    async with asyncio.timeout(2), pool.slot(claim()) as lease:
        assert lease.replica is replica
    assert (replica.starts, pool.restarts) == (2, 1)
    await pool.stop(0)


async def test_a_replica_whose_connection_broke_is_left_alone_until_it_is_seen_alive():
    replica = Bench()
    pool = await pool_of(replica)
    with pytest.raises(EngineFailed):
        await break_off(pool)
    assert not pool.alive
    async with asyncio.timeout(1), pool.slot(claim()):
        assert replica.starts == 1
    await pool.stop(0)


async def test_starting_fails_only_when_no_replica_starts():
    with pytest.raises(EngineFailed):
        await pool_of(Bench(broken=True))
    pool = await pool_of(Bench(broken=True), Bench())
    assert pool.alive
    await pool.stop(0)


async def test_processor_time_is_shared_by_those_who_ran_at_the_time():
    replica = Bench(slots=2)
    pool = await pool_of(replica)
    async with pool.slot(claim()) as first:
        replica.cpu += 1.0  # alone
        async with pool.slot(claim()) as second:
            replica.cpu += 2.0  # shared by two
            assert second.spent()[0] == pytest.approx(1.0)
        replica.cpu += 4.0  # alone again
        assert first.spent()[0] == pytest.approx(6.0)
    await pool.stop(0)


async def test_an_idle_pool_falls_asleep_and_a_request_wakes_it():
    one = Bench()
    pool = Pool("model:m@1", [one], 4, 2.0, scaler=Scaler(0, 1, 1, 0.2, 0.3))
    await pool.start()
    assert one.up
    await until(lambda: pool.asleep and not one.up)
    assert pool.alive
    async with pool.slot(claim()) as lease:
        assert lease.replica is one
    assert (one.starts, pool.restarts) == (2, 0)
    await pool.stop(0)


async def test_a_queue_starts_another_replica_and_what_is_not_needed_is_stopped():
    one, two = Bench(), Bench()
    pool = Pool("model:m@1", [one, two], 4, 5.0, scaler=Scaler(1, 2, 1, 0.1, 0.3))
    await pool.start()
    assert (one.up, two.up) == (True, False)
    release = asyncio.Event()
    held = [asyncio.create_task(hold(pool, release)) for _ in range(2)]
    await until(lambda: two.up and pool.busy == 2)
    release.set()
    await asyncio.gather(*held)
    await until(lambda: not two.up)
    assert one.up
    await pool.stop(0)


async def test_a_replica_that_is_not_wanted_any_more_finishes_its_answer():
    one = Bench()
    pool = await pool_of(one)
    async with pool.slot(claim()):
        pool.want(0)
        await asyncio.sleep(0.3)
        assert one.up
    await until(lambda: not one.up)
    await pool.stop(0)


def test_load_that_comes_and_goes_starts_and_stops_nothing():
    scaler = Scaler(1, 3, 2, patience_s=2, idle_s=60)
    for second in range(300):
        assert scaler.look(second, waiting=second % 2, busy=2) == 1
    assert [scaler.look(300 + second, 4, 2) for second in range(6)] == [1, 2, 2, 3, 3, 3]
    steady = [scaler.look(306 + second, 0, 3) for second in range(200)]
    assert steady[-1] == 2, "three requests need two replicas of two slots"
    assert [scaler.look(600 + second, 0, 0) for second in range(120)][-1] == 1


async def test_a_request_that_would_come_too_late_is_refused_at_once():
    pool = await pool_of(Bench(), queue=10, timeout_s=60.0)
    for _ in range(5):
        pool.pace.answered(2.0)
    release = asyncio.Event()
    held = [asyncio.create_task(hold(pool, release)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests, match="in time") as refused, pool.admit(claim(seconds=5)):
        pass
    assert refused.value.retry_after_s == pytest.approx(6.0)
    with pool.admit(claim(seconds=7)):
        pass
    release.set()
    await asyncio.gather(*held)
    await pool.stop(0)


async def test_prompts_wait_only_as_long_as_the_engine_can_read_them():
    pool = await pool_of(Bench(), queue=10, rules=AdmissionSettings(target_first_s=10))
    for _ in range(5):
        pool.pace.read(100, 1.0, at_once=1)
    release = asyncio.Event()
    held = [asyncio.create_task(hold(pool, release, tokens=600)) for _ in range(2)]
    await asyncio.sleep(0)
    for _ in range(5):
        pool.pace.answered(0.001)
    with pytest.raises(TooManyRequests, match="read"), pool.admit(claim(tokens=600)):
        pass
    with pool.admit(claim(tokens=300)):
        pass
    release.set()
    await asyncio.gather(*held)
    await pool.stop(0)


async def test_a_full_pool_sheds_background_work_for_a_person():
    pool = await pool_of(Bench(), queue=1)
    release = asyncio.Event()

    async def ask(lane: str) -> str:
        asked = claim(lane)
        with pool.admit(asked):
            async with pool.slot(asked):
                await release.wait()
        return lane

    running = asyncio.create_task(ask("interactive"))
    shadow = asyncio.create_task(ask("background"))
    await asyncio.sleep(0)
    person = asyncio.create_task(ask("interactive"))
    with pytest.raises(TooManyRequests, match="matters more"):
        await shadow
    with pytest.raises(TooManyRequests, match="busy"):
        await ask("batch")
    release.set()
    assert await asyncio.gather(running, person) == ["interactive"] * 2
    assert pool.shed.count == pytest.approx(2)
    await pool.stop(0)


async def test_slots_kept_for_people_are_not_given_to_batches():
    pool = await pool_of(Bench(slots=4))
    release = asyncio.Event()
    batches = [asyncio.create_task(hold(pool, release, "batch")) for _ in range(6)]
    await asyncio.sleep(0)
    assert (pool.busy, pool.waiting) == (3, 3)
    async with asyncio.timeout(1), pool.slot(claim()):
        assert pool.busy == 4
    release.set()
    await asyncio.gather(*batches)
    await pool.stop(0)


async def test_a_replica_that_keeps_breaking_gets_nothing_until_one_request_finds_it_well():
    bad, good = Bench(), Bench()
    rules = AdmissionSettings(breaker_failures=3, breaker_rest_s=0.3)
    pool = await pool_of(bad, good, rules=rules)
    broken = 0
    async with pool.slot(claim()) as kept:
        pool_bad = next(seat for seat in pool.seats if seat is not kept.seat)
        while pool_bad.breaker.is_closed:
            broken += 1
            with pytest.raises(EngineFailed):
                await break_off(pool)
    assert broken == 3
    async with pool.slot(claim()) as lease:
        assert lease.seat is not pool_bad
    await until(lambda: pool_bad.free == 1)
    async with pool.slot(claim()) as one, pool.slot(claim()) as other:
        assert pool_bad in (one.seat, other.seat)
    assert pool_bad.breaker.is_closed
    await pool.stop(0)


async def test_a_replica_that_is_silent_and_does_not_react_is_ended_and_started_again():
    replica = Bench(reacts=False)
    pool = await pool_of(replica, rules=AdmissionSettings(hang_s=0.2))

    async def wait_for_a_word() -> None:
        async with pool.slot(claim()) as lease:
            lease.listen(speaks=True)
            await asyncio.sleep(30)

    with pytest.raises(EngineFailed, match="silent"):
        await asyncio.wait_for(wait_for_a_word(), 5)
    assert pool.hangs == 1
    await until(lambda: replica.starts == 2 and pool.alive)
    await pool.stop(0)


async def test_a_replica_that_is_at_work_may_be_silent_and_so_may_one_nobody_listens_to():
    busy, unheard = Bench(), Bench(reacts=False)
    rules = AdmissionSettings(hang_s=0.1)
    one, other = await pool_of(busy, rules=rules), await pool_of(unheard, rules=rules)
    async with one.slot(claim()) as lease, other.slot(claim()):
        lease.listen(speaks=True)
        await asyncio.sleep(0.4)
    assert (one.hangs, other.hangs) == (0, 0)
    await asyncio.gather(one.stop(0), other.stop(0))


def attempts(pool: Pool, log: list[str], delays: dict[int, float]):
    """What `hedged` takes: an attempt that says which replica answered."""

    async def attempt(given: Any = None) -> AsyncGenerator[Piece, None]:
        async with pool.slot(claim()) if given is None else pool.held(given) as lease:
            number = [id(seat) for seat in pool.seats].index(id(lease.seat))
            try:
                await asyncio.sleep(delays[number])
                yield Piece(f"{number}")
                yield Piece("", "stop")
            except BaseException:
                log.append(f"{number} was stopped")
                raise

    return attempt


async def test_a_late_answer_is_asked_for_twice_and_the_loser_is_stopped():
    pool = await pool_of(Bench(), Bench())
    for _ in range(20):
        pool.pace.began(0.05)
    log: list[str] = []
    pieces = hedged(pool, claim(), attempts(pool, log, {0: 20.0, 1: 0.0}))
    assert [piece.text async for piece in pieces] == ["1", ""]
    assert log == ["0 was stopped"]
    assert pool.busy == 0
    late = hedged(pool, claim(), attempts(pool, log, {0: 0.3, 1: 0.0}))
    assert [piece.text async for piece in late] == ["0", ""], "one in twenty, and one at least"
    await pool.stop(0)


async def test_the_fallback_answers_while_the_first_model_cannot_or_has_too_much_to_do():
    first, last = await pool_of(Bench()), await pool_of(Bench())
    arms = [
        Arm(f"model:{n}@1", 1.0, pool, SamplingSettings()) for n, pool in ((1, first), (2, last))
    ]
    assert in_order(arms) == arms
    first.ladder.look(Load(wait=0.8))
    assert in_order(arms) == arms[1:]
    assert in_order(arms, is_on_trial=True) == arms
    for _ in range(5):
        first.seats[0].breaker.ended(False)
    assert in_order(arms, is_on_trial=True) == arms[1:]
    with pytest.raises(TooManyRequests, match="breaking"), first.admit(claim()):
        pass
    for _ in range(5):
        last.seats[0].breaker.ended(False)
    assert in_order(arms) == arms, "neither is better"
    await asyncio.gather(first.stop(0), last.stop(0))


async def until(condition, timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.01)
