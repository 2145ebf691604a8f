"""Token budgets: reserve what an answer may cost at most, settle to what it did cost.

Spending is counted per key, per tenant and UTC day, in memory. The requests table and the spool
hold every answer's tokens, so a gateway that starts again counts from them and no restart resets a
budget. Where several gateways share the budgets, each goes by what it holds of them
(`sharing.leases`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from undercroft.records import Principal
from undercroft.retrieve.prompt import PASSAGE_CHARACTERS
from undercroft.serve.admission.accounts import Account
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
    without a budget, ``of_tenants`` to the tenants it names; 0 is none. ``shared`` says that other
    gateways spend of the same."""

    def __init__(
        self,
        default: int,
        of_tenants: Mapping[str, int] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        shared: bool = False,
    ) -> None:
        self._default = default
        self._of_tenants = of_tenants or {}
        self._now = now
        self._is_shared = shared
        self._day = now().date()
        self._accounts: dict[str, Account] = {}  # by a key's id, or / and a tenant's name

    @property
    def day(self) -> str:
        """Today, in UTC."""
        self._turn_day()
        return self._day.isoformat()

    @property
    def open(self) -> Iterable[Account]:
        """The accounts that something was asked of today."""
        self._turn_day()
        return self._accounts.values()

    def spent(self, key: str = "", tenant: str = "") -> float:
        """Tokens used or reserved today by ``key``, or by ``tenant``."""
        self._turn_day()
        return self._account(key or _account(tenant)).spent

    def restore(self, spent: Mapping[str, int], tenants: Mapping[str, str] | None = None) -> None:
        """Count what was ``spent`` by keys today before this process began; ``tenants`` says whose
        they are."""
        for key, tokens in spent.items():
            self._account(key).before += tokens
            if tenants and key in tenants:
                self._account(_account(tenants[key])).before += tokens

    def accounts(self, who: Principal) -> list[Account]:
        """What ``who`` spends of: the key's own account, and its tenant's."""
        self._turn_day()
        own = self._account(who.id)
        own.limit = who.daily_tokens if who.daily_tokens is not None else self._default
        if not who.tenant:
            return [own]
        account = self._account(_account(who.tenant))
        account.limit = self._of_tenants.get(who.tenant, 0)
        return [own, account]

    @contextmanager
    def reserve(self, who: Principal, tokens: int) -> Iterator[Grant]:
        """Hold ``tokens`` while a request runs, then count what it did cost.

        Raises `OutOfTokens` when the rest of the day's budget, of the key or of its tenant, is less
        than that.
        """
        grant = Grant(tokens)
        accounts = self.accounts(who)
        for account in accounts:
            if account.free < tokens:
                raise self._spent_out(account, who, tokens)
        for account in accounts:
            account.reserved += tokens
        try:
            yield grant
        finally:
            for account in accounts:  # of yesterday's, nobody asks any more
                account.reserved -= tokens
                account.used += grant.used

    def _spent_out(self, account: Account, who: Principal, tokens: int) -> OutOfTokens:
        whose = "The key's" if account.name == who.id else f"The tenant {who.tenant}'s"
        return OutOfTokens(
            f"{whose} tokens for today are spent.",
            f"{account.spent:.0f} of {account.limit} are used or reserved and this request may "
            f"need {tokens}.",
            "Ask for fewer tokens, or wait until midnight UTC.",
            retry_after_s=self._until_midnight_s(),
        )

    def _account(self, name: str) -> Account:
        found = self._accounts.get(name)
        if found is None:
            found = self._accounts[name] = Account(name, shared=self._is_shared)
        return found

    def _turn_day(self) -> None:
        """Begin anew at midnight; not when the clock is set back across it, which would give away
        what was spent, unless it was wrong by more than a day."""
        today = self._now().date()
        if today > self._day or self._day - today > timedelta(days=1):
            self._day = today
            self._accounts = {}

    def _until_midnight_s(self) -> float:
        now = self._now()
        midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return (midnight - now).total_seconds()


def _account(tenant: str) -> str:
    return f"/{tenant}"
