"""Prompts go where their beginning was read, as long as that costs nobody a wait."""

import asyncio
import time

from hypothesis import given
from hypothesis import strategies as st

from tests.serve.test_pool import Bench, pool_of
from undercroft.serve.admission.claim import Claim
from undercroft.serve.pools.affinity import BLOCK, Beginnings, Recall, beginnings


def said(*turns: str, adapter: str = "") -> Beginnings:
    return beginnings([{"role": "user", "content": turn} for turn in turns], "", adapter)


def claim(asked: Beginnings) -> Claim:
    return Claim("interactive", time.monotonic() + 5, beginnings=asked)


LONG = "A" * 4 * BLOCK


@given(st.text(max_size=4 * BLOCK), st.text(max_size=BLOCK), st.text(max_size=BLOCK))
def test_two_prompts_share_as_many_digests_as_blocks(same: str, one: str, other: str) -> None:
    recall = Recall(1)
    recall.note(beginnings([], same + one, ""))
    text, asked = (same + one).encode(), (same + other).encode()
    blocks = 0
    while (
        (blocks + 1) * BLOCK <= min(len(text), len(asked))
        and text[: (blocks + 1) * BLOCK] == asked[: (blocks + 1) * BLOCK]
    ):  # fmt: skip
        blocks += 1
    assert recall.shared(beginnings([], same + other, "")) == blocks


def test_what_one_adapter_has_read_is_of_no_use_to_another() -> None:
    recall = Recall(1)
    recall.note(said(LONG, adapter="adapter:a@1"))
    assert recall.shared(said(LONG, adapter="adapter:b@1")) == 0
    assert recall.shared(said(LONG, adapter="adapter:a@1")) == 4


async def test_a_conversation_stays_where_it_began() -> None:
    pool = await pool_of(Bench(slots=2), Bench(slots=2))
    talks = [f"{name}{LONG}" for name in "ab"]
    homes = {}
    for talk in talks:  # at the same time, so that each gets a replica of its own
        homes[talk] = pool.slot(claim(said(talk)))
    leases = {talk: await home.__aenter__() for talk, home in homes.items()}
    for home in homes.values():
        await home.__aexit__(None, None, None)
    assert leases[talks[0]].replica is not leases[talks[1]].replica
    for turn in range(1, 4):
        for talk in reversed(talks):
            async with pool.slot(claim(said(talk, *"x" * turn))) as lease:
                assert lease.replica is leases[talk].replica
    await pool.stop(0)


async def test_nobody_waits_for_a_busy_replica_that_has_read_it() -> None:
    pool = await pool_of(Bench(slots=2), Bench(slots=2))
    async with pool.slot(claim(said(LONG))) as first, pool.slot(claim(said(LONG))) as second:
        assert first.replica is second.replica
        async with pool.slot(claim(said(LONG))) as third:
            assert third.replica is not first.replica
    await pool.stop(0)


async def test_a_replica_that_was_started_again_has_read_nothing() -> None:
    one, two = Bench(slots=2), Bench(slots=2)
    pool = await pool_of(one, two)
    async with pool.slot(claim(said(LONG))) as lease:
        home = lease.seat
    home.replica.up = False
    deadline = time.monotonic() + 5
    while home.replica.starts < 2 or not home.ready:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    assert home.recall.shared(said(LONG)) == 0
    await pool.stop(0)
