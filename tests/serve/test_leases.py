"""Budgets that several gateways share: in a real Redis, and in the ledger's database."""

import asyncio
import random
import tempfile
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.serve.redis_server import redis_of
from undercroft.ledger import Ledger
from undercroft.records import Principal
from undercroft.serve.admission.accounts import SLICE
from undercroft.serve.admission.budgets import Budgets
from undercroft.serve.admission.purse import Purse
from undercroft.serve.caches.shared import connect
from undercroft.serve.sharing import leases as module
from undercroft.serve.sharing.books import LedgerBook, RedisBook
from undercroft.serve.sharing.leases import Leases
from undercroft.serve.wire.failures import OutOfTokens

LIMIT = 10_000
WHO = Principal("key-1", "ada", "user", LIMIT, "acme")


@pytest.fixture(scope="module")
def store():
    with tempfile.TemporaryDirectory(prefix="uc") as folder, redis_of(Path(folder)) as store:
        yield store


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr(module, "WITHIN_S", 20.0)  # a loaded machine is no book that is down


@pytest.fixture(params=["redis", "ledger"])
def book(request, store, tmp_path):
    """Makes the book of a gateway."""
    if request.param == "redis":
        store.client.flushall()
        yield lambda name: RedisBook(connect(store.url, 20.0), "docs", name)
    else:
        ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
        yield lambda name: LedgerBook(ledger.engine, "docs", name)
        ledger.close()


class Gateway:
    """What a gateway has of budgets."""

    def __init__(self, book) -> None:
        self.budgets = Budgets(LIMIT, {"acme": LIMIT}, shared=True)
        self.purse = Purse(0.0, shared=True)
        self.leases = Leases(book, self.budgets, self.purse)

    async def spend(self, tokens: int, used: int | None = None, who: Principal = WHO) -> None:
        await self.leases.provide(who, tokens)
        with self.budgets.reserve(who, tokens) as grant:
            await asyncio.sleep(0)
            grant.used = tokens if used is None else used

    async def spend_all(self, tokens: int) -> int:
        """How much could be spent until there was no more."""
        spent = 0
        with suppress(OutOfTokens):
            while True:
                await self.spend(tokens)
                spent += tokens
        return spent


@asynccontextmanager
async def gateways(book, count: int = 2):
    made = [Gateway(book(f"g{number}")) for number in range(count)]
    try:
        yield made
    finally:
        for each in made:
            await each.leases.stop()


async def test_what_one_gateway_spends_another_lacks(book) -> None:
    async with gateways(book) as (one, other):
        await one.spend(6000)
        with pytest.raises(OutOfTokens):
            await other.spend(6000)
        spent = await other.spend_all(10)
        slack = LIMIT - 6000 - spent
        assert 0 <= slack <= SLICE * LIMIT + 10, "no more is left over than a slice"
        assert other.budgets.spent(WHO.id) >= 6000 + spent


async def test_together_they_never_spend_more_than_the_limit(book) -> None:
    draw = random.Random(74)
    async with gateways(book, 3) as all_:
        spent = 0

        async def client() -> None:
            nonlocal spent
            for _ in range(40):
                most = draw.randrange(1, 600)
                used = draw.randrange(most + 1)
                with suppress(OutOfTokens):
                    await draw.choice(all_).spend(most, used)
                    spent += used

        await asyncio.gather(*(client() for _ in range(4)))
        assert LIMIT * 0.9 < spent <= LIMIT


async def test_requests_seldom_wait_for_the_book(book) -> None:
    async with gateways(book, 1) as (one,):
        asked = 0
        draw = one.leases._book.draw

        async def counted(*given):
            nonlocal asked
            asked += 1
            return await draw(*given)

        one.leases._book.draw = counted
        for _ in range(500):
            await one.spend(10)
        assert asked <= 500 * 10 / (SLICE * LIMIT) + 2


async def test_the_lease_of_a_gateway_that_died_lapses(book, monkeypatch) -> None:
    dead, other = Gateway(book("dead")), Gateway(book("other"))
    await dead.spend(3000)  # nobody hears what it used after it asked
    with pytest.raises(OutOfTokens):
        await other.spend(8000)
    with monkeypatch.context() as patch:
        patch.setattr(module, "LEASE_S", 0.0)
        await dead.spend(200)
    spent = await other.spend_all(50)
    assert LIMIT - 3000 - SLICE * LIMIT - 50 <= spent <= LIMIT - 3000
    await other.leases.stop()


async def test_the_rest_is_given_back(book, monkeypatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.0)
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.02)
    async with gateways(book) as (one, other):
        await one.spend(100, 1)
        one.leases.start()
        while any(account.may > account.used for account in one.budgets.open):
            await asyncio.sleep(0.02)
        assert await other.spend_all(99) == 9999


async def test_money_is_shared_too(book) -> None:
    async with gateways(book) as all_:
        for each in all_:
            each.purse._limit = 10.0
            each.purse._account = each.purse._fresh()
        answers = 0
        with suppress(OutOfTokens):
            while True:
                each = all_[answers % 2]
                await each.leases.fund()
                each.purse.demand("model:big@1")
                each.purse.spend(0.03)
                answers += 1
        assert 9.8 <= answers * 0.03 <= 10.06, "two answers may go beyond it by their own price"


async def test_who_is_cut_off_spends_its_part_and_says_so() -> None:
    with tempfile.TemporaryDirectory(prefix="uc") as folder, redis_of(Path(folder)) as store:

        def book(name):
            return RedisBook(connect(store.url, 20.0), "docs", name)

        async with gateways(book) as (one, other):
            await one.spend(1000)
            await other.spend(1000)
            await one.spend(110)
            store.process.kill()
            store.process.wait()
            spent = await asyncio.gather(one.spend_all(10), other.spend_all(10))
            assert min(spent) > LIMIT / 4
            assert 0.95 * LIMIT <= sum(spent) + 2110 <= 1.02 * LIMIT
            assert one.leases.health["shared"] == "down"
            new = Gateway(book("new"))  # never met the book
            assert await new.spend_all(10) == LIMIT / 10


async def test_a_book_that_lost_everything_is_told_again(store, monkeypatch) -> None:
    monkeypatch.setattr(module, "RENEW_S", 0.0)
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.02)
    store.client.flushall()

    def book(name):
        return RedisBook(connect(store.url, 20.0), "docs", name)

    async with gateways(book) as (one, other):
        await one.spend(5000)
        one.leases.start()
        await one.spend(10)
        store.client.flushall()
        while not store.client.keys():
            await asyncio.sleep(0.02)
        with pytest.raises(OutOfTokens):
            await other.spend(5000)


async def test_what_the_journal_knows_counts_where_the_book_does_not(book) -> None:
    async with gateways(book, 1) as (one,):
        one.budgets.restore({WHO.id: 9000})
        with pytest.raises(OutOfTokens):
            await one.spend(1001)
        await one.spend(900)
