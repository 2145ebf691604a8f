"""Answers that gateways share in a real Redis, and what happens without it."""

import asyncio
import os
import signal
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.serve.redis_server import redis_of
from tests.serve.serving import make_project
from undercroft.records import Passage
from undercroft.serve.caches import shared as module
from undercroft.serve.caches.cache import Answer, Cache
from undercroft.serve.caches.shared import Shared
from undercroft.serve.wire.pieces import Piece, Usage

PATIENT_S = 5.0  # a loaded machine is no store that is down


@pytest.fixture(scope="module")
def store():
    with tempfile.TemporaryDirectory(prefix="uc") as folder, redis_of(Path(folder)) as store:
        yield store


@pytest.fixture(scope="module")
def vault(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("shared") / "p").trust.vault


@pytest.fixture(autouse=True)
def empty(store, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_S", PATIENT_S)
    store.client.flushall()


@asynccontextmanager
async def gateway(url, vault, *, entries=100, ttl_s=60.0, erased=()):
    """The cache of one gateway."""
    shared = Shared(
        url, "docs", vault, entries=entries, ttl_s=ttl_s, erased=lambda name: name in erased
    )
    await shared.start()
    try:
        yield Cache(100, shared)
    finally:
        await shared.stop()


def said(text: str, *documents: str) -> Answer:
    passages = tuple(Passage("c", d, "u", "t", "text", 0, 4) for d in documents)
    return Answer((Piece(text, "stop", Usage(1, 1, 2)),), passages)


async def ask(cache: Cache, key: str, answer: Answer | None = None) -> str | None:
    """What the cache knows, else ``answer``, found by us."""
    async with cache.flight(key) as flight:
        if flight.answer is None and answer is not None:
            flight.land(answer)
        return flight.answer.choices[0].text if flight.answer else None


async def settled(cache: Cache) -> None:
    await asyncio.gather(*cache._shared._tasks)


async def test_what_one_gateway_answered_another_knows_and_it_lies_sealed(store, vault):
    async with gateway(store.url, vault) as one, gateway(store.url, vault) as other:
        assert await ask(one, "k", said("In the caves of Somerset.", "d1")) is None
        await settled(one)
        assert await ask(other, "k") == "In the caves of Somerset."
    for key in store.client.scan_iter():
        assert b"caves" not in key
        if store.client.type(key) == b"string":
            assert b"caves" not in store.client.get(key)
            assert 0 < store.client.pttl(key) <= 60_000


async def test_a_question_under_way_in_one_gateway_is_waited_for_in_another(store, vault):
    async with gateway(store.url, vault) as one, gateway(store.url, vault) as other:
        led = asyncio.Event()

        async def lead():
            async with one.flight("k") as flight:
                led.set()
                await asyncio.sleep(0.2)
                flight.land(said("once"))

        leading = asyncio.create_task(lead())
        await led.wait()
        assert await ask(other, "k", said("twice")) == "once"
        await leading


async def test_when_a_gateway_gives_up_another_leads(store, vault):
    async with gateway(store.url, vault) as one, gateway(store.url, vault) as other:
        with pytest.raises(RuntimeError):
            async with one.flight("k"):
                raise RuntimeError
        assert await asyncio.wait_for(ask(other, "k", said("found")), 5) is None
        assert await ask(other, "k") == "found"


async def test_the_lock_of_a_gateway_that_died_lapses(store, vault, monkeypatch):
    monkeypatch.setattr(module, "LOCK_S", 0.2)
    async with gateway(store.url, vault) as one:
        store.client.set("{undercroft:docs}:lock:k", "somebody", px=200)
        assert await asyncio.wait_for(ask(one, "k", said("found")), 5) is None


async def test_answers_lapse_and_the_oldest_make_room(store, vault):
    async with gateway(store.url, vault, entries=2, ttl_s=0.15) as one:
        for name in "abc":
            await ask(one, name, said(name))
            await settled(one)
            await asyncio.sleep(0.002)
        kept = {key.decode()[-1] for key in store.client.scan_iter("*answer:*")}
        assert kept <= {"b", "c"}
        await asyncio.sleep(0.2)
        assert not list(store.client.scan_iter("*answer:*"))


async def test_an_erased_document_is_not_read_from_the_store_and_its_answers_are_deleted(
    store, vault
):
    async with gateway(store.url, vault) as one, gateway(store.url, vault, erased={"d1"}) as other:
        await ask(one, "a", said("reads d1", "d1", "d2"))
        await ask(one, "b", said("reads d2", "d2"))
        await settled(one)
        assert await ask(other, "a") is None
        assert await ask(other, "b") == "reads d2"
        one.forget("d1")
        await settled(one)
        assert [key.decode()[-1] for key in store.client.scan_iter("*answer:*")] == ["b"]


async def test_what_somebody_else_wrote_there_is_no_answer(store, vault):
    async with gateway(store.url, vault) as one, gateway(store.url, vault) as other:
        await ask(one, "a", said("of a"))
        await settled(one)
        moved = store.client.get("{undercroft:docs}:answer:a")
        store.client.set("{undercroft:docs}:answer:b", moved)
        store.client.set("{undercroft:docs}:answer:c", b"nonsense")
        assert await ask(other, "b", said("of b")) is None
        assert await ask(other, "c", said("of c")) is None


async def test_a_store_that_hangs_or_is_down_costs_a_moment_and_no_answer(
    tmp_path, vault, monkeypatch
):
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    with tempfile.TemporaryDirectory(prefix="uc") as folder, redis_of(Path(folder)) as store:
        async with gateway(store.url, vault) as one:
            os.kill(store.process.pid, signal.SIGSTOP)
            began = time.monotonic()
            async with one.flight("k") as flight:
                waited = time.monotonic() - began
                assert flight.degraded
                flight.land(said("without"))
            assert waited < 1  # 0.05 s of it; the rest is for a loaded machine
            assert await ask(one, "k") == "without"
            began = time.monotonic()
            for number in range(20):
                await ask(one, f"n{number}", said("x"))
            assert time.monotonic() - began < 20 * 0.05
            os.kill(store.process.pid, signal.SIGCONT)
    async with gateway("unix:///nowhere/redis.sock", vault) as one, one.flight("k") as flight:
        assert flight.degraded
