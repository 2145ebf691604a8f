"""Answers that are given again, and when they are not."""

import asyncio

import msgspec
import pytest

from undercroft.records import Passage
from undercroft.serve.caches.cache import Answer, Cache, key_of
from undercroft.serve.wire.asks import parse_chat
from undercroft.serve.wire.pieces import Piece, Usage
from undercroft.settings import SamplingSettings


def ask(**fields):
    body = {"model": "docs", "messages": [{"role": "user", "content": "Why?"}], **fields}
    return parse_chat(msgspec.json.encode(body), SamplingSettings())


def said(text: str, *documents: str) -> Answer:
    passages = tuple(Passage("c", d, "u", "t", "text", 0, 4) for d in documents)
    return Answer((Piece(text, "stop", Usage(1, 1, 2)),), passages)


async def put(cache: Cache, key: str, answer: Answer) -> None:
    async with cache.flight(key) as flight:
        assert flight.answer is None
        flight.land(answer)


async def known(cache: Cache, key: str) -> str | None:
    async with cache.flight(key) as flight:
        return flight.answer.choices[0].text if flight.answer else None


async def test_an_answer_is_given_again_for_the_same_key_only():
    cache = Cache(10)
    await put(cache, "a", said("first"))
    assert await known(cache, "a") == "first"
    assert await known(cache, "b") is None


async def test_the_least_recently_used_answer_goes_first():
    cache = Cache(2)
    await put(cache, "a", said("1"))
    await put(cache, "b", said("2"))
    await known(cache, "a")
    await put(cache, "c", said("3"))
    assert [await known(cache, key) for key in "abc"] == ["1", None, "3"]


async def test_identical_questions_under_way_wait_for_one_answer():
    cache, led = Cache(10), 0

    async def one() -> str:
        nonlocal led
        async with cache.flight("a") as flight:
            if flight.answer is None:
                led += 1
                await asyncio.sleep(0.02)
                flight.land(said("once"))
                return "once"
            return flight.answer.choices[0].text

    assert await asyncio.gather(*(one() for _ in range(20))) == ["once"] * 20
    assert led == 1


async def test_when_the_lead_fails_one_of_those_waiting_leads():
    cache, leads = Cache(10), []

    async def one(name: str, fails: bool) -> str:
        async with cache.flight("a") as flight:
            if flight.answer is not None:
                return flight.answer.choices[0].text
            leads.append(name)
            await asyncio.sleep(0.01)
            if fails:
                raise RuntimeError
            flight.land(said(name))
            return name

    results = await asyncio.gather(
        one("bad", True), one("good", False), one("third", False), return_exceptions=True
    )
    assert isinstance(results[0], RuntimeError)
    assert results[1:] == ["good", "good"]
    assert leads == ["bad", "good"]


async def test_forgetting_a_document_drops_the_answers_that_read_it_and_those_under_way():
    cache = Cache(10)
    await put(cache, "a", said("reads d1", "d1", "d2"))
    await put(cache, "b", said("reads d2", "d2"))
    async with cache.flight("c") as flight:
        cache.forget("d1")
        flight.land(said("may have read d1", "d1"))
    assert [await known(cache, key) for key in "abc"] == [None, "reads d2", None]


async def test_nothing_is_kept_when_the_cache_is_off():
    cache = Cache(0)
    await put(cache, "a", said("x"))
    assert await known(cache, "a") is None


def test_the_key_covers_what_an_answer_depends_on():
    base = key_of(ask(), "model:m@1", "index:i@1")
    assert base == key_of(ask(stream=True, user="somebody"), "model:m@1", "index:i@1")
    others = [
        key_of(ask(), "model:m@2", "index:i@1"),
        key_of(ask(), "model:m@1", "index:i@2"),
        key_of(ask(max_tokens=5), "model:m@1", "index:i@1"),
        key_of(ask(stop="x"), "model:m@1", "index:i@1"),
        key_of(ask(retrieve=False), "model:m@1", "index:i@1"),
    ]
    assert len({base, *others}) == len(others) + 1


@pytest.mark.parametrize(
    ("fields", "kept"),
    [({}, True), ({"temperature": 1}, False), ({"temperature": 1, "seed": 7}, True)],
)
def test_only_answers_that_would_come_out_the_same_are_kept(fields, kept):
    assert (key_of(ask(**fields), "m") is not None) is kept
