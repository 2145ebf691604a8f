"""Budgets of several gateways: each spends of a slice that it holds for a while.

A gateway writes down what it used, takes what its requests under way need and a slice of
`accounts.SLICE` of the limit, and gives the rest back when nobody asks any more. What a gateway
holds that was killed is free again after `LEASE_S`. So all together spend no more than the limit
and, for each that was killed, what it used after it last wrote that down: its requests under way
and one slice at most.

A book that does not answer is left alone: whoever is cut off spends what it holds and its part of
what nobody held when it last asked, which was `RENEW_S` before at most; then it refuses.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Protocol

import msgspec

from undercroft.records import Principal
from undercroft.serve.admission.accounts import SLICE, Account
from undercroft.serve.admission.budgets import Budgets
from undercroft.serve.admission.purse import Purse

log = logging.getLogger(__name__)

LEASE_S = 15.0
RENEW_S = 4.0
IDLE_S = 10.0  # after which the rest is given back
LOOK_EVERY_S = 1.0
LEAST = 1e-9  # in the purse, to ask with
WITHIN_S = 2.0  # the book answers, or is left alone


class Want(msgspec.Struct, frozen=True):
    """``used`` of ``limit`` by this gateway today; ``reserved`` by requests under way, ``need``
    with those that wait, and ``spare``, up to which it may be more."""

    account: str
    limit: float
    used: float
    reserved: float
    need: float
    spare: float

    def held(self, elsewhere: float, gateways: int) -> float:
        """What is held from now on: all that is needed or, where that is not there, nothing new.
        Near the end of a limit slices are small, so that no gateway refuses what another spares."""
        free = self.limit - elsewhere - self.used
        if free < self.need:
            return max(0.0, min(free, self.reserved))
        return self.need + min(self.spare, (free - self.need) / (2 * gateways))


class Given(msgspec.Struct, frozen=True):
    """What an account holds now; the others used or hold ``elsewhere``, and ``gateways`` hold
    some, with this one."""

    held: float
    elsewhere: float
    gateways: int


class Book(Protocol):
    """Where it is written who used and holds what. Raises whatever the store does."""

    async def draw(self, day: str, wants: Sequence[Want], lease_s: float) -> Sequence[Given]:
        """One step, all or nothing; the same step twice is the same as once."""
        ...

    async def close(self) -> None: ...


class Leases:
    """Keeps the accounts of ``budgets`` and ``purse`` supplied from ``book``; without a book the
    gateway is alone and nothing is done."""

    def __init__(self, book: Book | None, budgets: Budgets, purse: Purse) -> None:
        self._book = book
        self._budgets = budgets
        self._purse = purse
        self._drawing = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None
        self._gateways = 0  # as many as were ever seen at once
        self._drawn_at: dict[str, float] = {}
        self.failing = ""  # why the book cannot be asked at present

    @property
    def health(self) -> dict[str, object]:
        """For ``/health``."""
        state = "none" if self._book is None else "down" if self.failing else "ok"
        return {"shared": state, "failing": self.failing or None}

    def start(self) -> None:
        if self._book is not None:
            self._looking = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Write down what was used and give the rest back."""
        if self._book is None:
            return
        if self._looking is not None:
            self._looking.cancel()
        await self._draw([account for account in self._limited() if account.gateways], is_last=True)
        await self._book.close()

    async def provide(self, who: Principal, tokens: int) -> None:
        """Have ``who`` find ``tokens`` in what this gateway holds, if they are to be had."""
        if self._book is not None:
            await self._have([each for each in self._budgets.accounts(who) if each.limit], tokens)

    async def fund(self) -> None:
        """Have something in the purse, if there is anything left."""
        if self._book is not None and (account := self._purse.account).limit:
            await self._have([account], LEAST)

    async def _have(self, accounts: list[Account], amount: float) -> None:
        now = time.monotonic()
        for account in accounts:
            account.asked_at = now
        if not any(_lacks(account, amount) for account in accounts):
            return
        async with self._drawing:  # who waits here may find that others drew enough
            lacking = [account for account in accounts if _lacks(account, amount)]
            if lacking:
                await self._draw(lacking, amount)

    async def _draw(
        self, accounts: Sequence[Account], amount: float = 0.0, *, is_last: bool = False
    ) -> None:
        if self.failing and not is_last:
            self._cut_off(accounts)
        elif accounts:
            try:
                await self._ask(accounts, amount, is_last=is_last)
            except Exception as error:  # of the network, the client or the server
                self._fail(error)
                self._cut_off(self._limited())

    async def _ask(self, accounts: Sequence[Account], amount: float, *, is_last: bool) -> None:
        assert self._book is not None
        began, held = time.monotonic(), [account.may for account in accounts]
        wants = [_want(each, amount, gives_back=is_last or _is_idle(each)) for each in accounts]
        for account in accounts:  # nothing more of it meanwhile: it may come back smaller
            account.may = account.used + account.reserved
        try:
            async with asyncio.timeout(WITHIN_S):
                found = await self._book.draw(self._budgets.day, wants, LEASE_S)
        except BaseException:
            for account, may in zip(accounts, held, strict=True):
                account.may = may
            raise
        for account, want, given in zip(accounts, wants, found, strict=True):
            account.given(want.used + given.held, given.elsewhere, given.gateways, began + LEASE_S)
            self._gateways = max(self._gateways, given.gateways)
            self._drawn_at[account.name] = began

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            async with self._drawing:
                if self.failing:
                    await self._try_again()
                else:
                    await self._draw([each for each in self._limited() if self._is_due(each)])

    async def _try_again(self) -> None:
        accounts = list(self._limited())
        try:
            await self._ask(accounts, 0.0, is_last=False)
        except Exception as error:
            self._fail(error)
        else:
            log.warning("the budgets are shared again")
            self.failing = ""

    def _is_due(self, account: Account) -> bool:
        if not account.gateways:
            return False  # nobody has asked yet
        if _is_idle(account):
            return account.may > account.used
        is_short = account.free < account.limit * SLICE / 2 and account.left > 0
        return is_short or time.monotonic() - self._drawn_at.get(account.name, 0.0) > RENEW_S

    def _limited(self) -> list[Account]:
        accounts = [*self._budgets.open, self._purse.account]
        return [account for account in accounts if account.limit]

    def _cut_off(self, accounts: Sequence[Account]) -> None:
        for account in accounts:
            account.cut_off(self._gateways)

    def _fail(self, error: Exception) -> None:
        if not self.failing:
            log.error("the budgets' book does not answer; each gateway goes by what it holds")
        self.failing = f"{type(error).__name__}: {error}"


def _lacks(account: Account, amount: float) -> bool:
    return account.free < amount or time.monotonic() > account.until


def _is_idle(account: Account) -> bool:
    return not account.reserved and time.monotonic() - account.asked_at > IDLE_S


def _want(account: Account, amount: float, *, gives_back: bool) -> Want:
    spare = 0.0 if gives_back else account.limit * SLICE
    need = account.reserved + amount
    return Want(account.name, account.limit, account.used, account.reserved, need, spare)
