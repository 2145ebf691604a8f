"""Token budgets: reserve what an answer may cost at most, settle to what it did cost.

Spending is counted per key and UTC day, in memory. The requests table and the spool hold every
answer's tokens, so a gateway that starts again counts from them and no restart resets a budget.
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
    """What each key has spent today. ``default`` applies to keys without a budget; 0 is none."""

    def __init__(
        self, default: int, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._default = default
        self._now = now
        self._day = now().date()
        self._spent: dict[str, int] = {}

    def spent(self, key: str) -> int:
        self._turn_day()
        return self._spent.get(key, 0)

    def restore(self, spent: Mapping[str, int]) -> None:
        """Count what was spent today before this process began."""
        for key, tokens in spent.items():
            self._spent[key] = self._spent.get(key, 0) + tokens

    @contextmanager
    def reserve(self, who: Principal, tokens: int) -> Iterator[Grant]:
        """Hold ``tokens`` while a request runs, then count what it did cost.

        Raises `OutOfTokens` when the rest of the day's budget is less than that.
        """
        self._turn_day()
        grant = Grant(tokens)
        limit = who.daily_tokens if who.daily_tokens is not None else self._default
        spent = self._spent.get(who.id, 0)
        if limit and spent + grant.reserved > limit:
            raise OutOfTokens(
                "The key's tokens for today are spent.",
                f"{spent} of {limit} are used or reserved and this request may need "
                f"{grant.reserved}.",
                "Ask for fewer tokens, or wait until midnight UTC.",
                retry_after_s=self._until_midnight_s(),
            )
        day = self._day
        self._spent[who.id] = spent + grant.reserved
        try:
            yield grant
        finally:
            if self._day == day:
                self._spent[who.id] += grant.used - grant.reserved

    def _turn_day(self) -> None:
        today = self._now().date()
        if today != self._day:
            self._day = today
            self._spent.clear()

    def _until_midnight_s(self) -> float:
        now = self._now()
        midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return (midnight - now).total_seconds()
