"""Token budgets: reserve what an answer may cost at most, settle to what it did cost.

Spending is counted per key, per tenant and UTC day, in memory. The requests table and the spool
hold every answer's tokens, so a gateway that starts again counts from them and no restart resets a
budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from undercroft.records import Principal
from undercroft.retrieve.prompt import PASSAGE_CHARACTERS
from undercroft.serve.wire.asks import Ask
from undercroft.serve.wire.failures import OutOfTokens

CHARACTERS_PER_TOKEN = 3  # cautious: English prose has about four


def estimate_tokens(text: str) -> int:
    """Tokens of ``text`` at most, roughly, without a tokenizer."""
    return len(text) // CHARACTERS_PER_TOKEN + 1


def most_tokens(ask: Ask, reads: bool) -> int:
    """What ``ask`` can cost at most; ``reads`` says whether passages are added to its prompt."""
    passages = PASSAGE_CHARACTERS // CHARACTERS_PER_TOKEN if reads else 0
    return estimate_tokens(ask.text) + passages + ask.max_tokens * ask.n


class Grant:
    """Tokens reserved for one answer; ``used`` is set when they are known."""

    def __init__(self, reserved: int) -> None:
        self.reserved = reserved
        self.used = 0


class Budgets:
    """What each key, and each tenant of several keys, has spent today. ``default`` applies to keys
    without a budget, ``of_tenants`` to the tenants it names; 0 is none."""

    def __init__(
        self,
        default: int,
        of_tenants: Mapping[str, int] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._default = default
        self._of_tenants = of_tenants or {}
        self._now = now
        self._day = now().date()
        self._spent: dict[str, int] = {}  # by the id of a key, or the name of a tenant after a /

    def spent(self, key: str = "", tenant: str = "") -> int:
        """Tokens used or reserved today by ``key``, or by ``tenant``."""
        self._turn_day()
        return self._spent.get(key or _account(tenant), 0)

    def restore(self, spent: Mapping[str, int], tenants: Mapping[str, str] | None = None) -> None:
        """Count what was ``spent`` by keys today before this process began; ``tenants`` says whose
        they are."""
        for key, tokens in spent.items():
            self._add(key, tokens)
            if tenants and key in tenants:
                self._add(_account(tenants[key]), tokens)

    @contextmanager
    def reserve(self, who: Principal, tokens: int) -> Iterator[Grant]:
        """Hold ``tokens`` while a request runs, then count what it did cost.

        Raises `OutOfTokens` when the rest of the day's budget, of the key or of its tenant, is less
        than that.
        """
        self._turn_day()
        grant = Grant(tokens)
        accounts = [who.id]
        own = who.daily_tokens if who.daily_tokens is not None else self._default
        self._check("The key's", who.id, own, tokens)
        if who.tenant:
            account = _account(who.tenant)
            limit = self._of_tenants.get(who.tenant, 0)
            self._check(f"The tenant {who.tenant}'s", account, limit, tokens)
            accounts.append(account)
        day = self._day
        for account in accounts:
            self._add(account, tokens)
        try:
            yield grant
        finally:
            if self._day == day:
                for account in accounts:
                    self._add(account, grant.used - tokens)

    def _check(self, whose: str, account: str, limit: int, tokens: int) -> None:
        spent = self._spent.get(account, 0)
        if limit and spent + tokens > limit:
            raise OutOfTokens(
                f"{whose} tokens for today are spent.",
                f"{spent} of {limit} are used or reserved and this request may need {tokens}.",
                "Ask for fewer tokens, or wait until midnight UTC.",
                retry_after_s=self._until_midnight_s(),
            )

    def _add(self, account: str, tokens: int) -> None:
        self._spent[account] = self._spent.get(account, 0) + tokens

    def _turn_day(self) -> None:
        """Begin anew at midnight; not when the clock is set back across it, which would give away
        what was spent, unless it was wrong by more than a day."""
        today = self._now().date()
        if today > self._day or self._day - today > timedelta(days=1):
            self._day = today
            self._spent.clear()

    def _until_midnight_s(self) -> float:
        now = self._now()
        midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return (midnight - now).total_seconds()


def _account(tenant: str) -> str:
    return f"/{tenant}"
