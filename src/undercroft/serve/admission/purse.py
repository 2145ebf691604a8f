"""The money that models elsewhere may cost in a day, altogether.

It is spent when it is known what an answer cost, so the last answer of a day may go beyond the
limit by its own price; those under way at that moment, by theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from undercroft.serve.admission.accounts import Account
from undercroft.serve.wire.failures import OutOfTokens

NAME = "$"


class Purse:
    """What was spent today (UTC) of ``limit``, in the meter's currency; 0 is no limit. ``shared``
    says that other gateways spend of the same."""

    def __init__(
        self,
        limit: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        shared: bool = False,
    ) -> None:
        self._limit = limit
        self._now = now
        self._is_shared = shared
        self._day = now().date()
        self._account = self._fresh()

    @property
    def account(self) -> Account:
        """Today's."""
        self._turn_day()
        return self._account

    @property
    def spent(self) -> float:
        """Today, so far."""
        return self.account.spent

    def restore(self, cost: float) -> None:
        """Count what was spent today before this process began."""
        self.account.before += cost

    def spend(self, cost: float) -> None:
        """Count what an answer cost."""
        self.account.used += cost

    def demand(self, model: str) -> None:
        """Raises `OutOfTokens` when nothing is left to ask ``model`` with."""
        if self.account.free <= 0:
            now = self._now()
            midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
            raise OutOfTokens(
                f"The money for {model} is spent for today.",
                f"{self.spent:.2f} of {self._limit:g} (serve.daily_cost).",
                "Ask a model of this house, or wait until midnight UTC.",
                retry_after_s=(midnight - now).total_seconds(),
            )

    def _fresh(self) -> Account:
        return Account(NAME, limit=self._limit, shared=self._is_shared)

    def _turn_day(self) -> None:
        """As `Budgets` does: not when the clock is set back across midnight."""
        today = self._now().date()
        if today > self._day or self._day - today > timedelta(days=1):
            self._day, self._account = today, self._fresh()
