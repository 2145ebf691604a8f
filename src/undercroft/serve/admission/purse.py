"""The money that models elsewhere may cost in a day, altogether.

It is spent when it is known what an answer cost, so the last answer of a day may go beyond the
limit by its own price; those under way at that moment, by theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from undercroft.serve.wire.failures import OutOfTokens


class Purse:
    """What was spent today (UTC) of ``limit``, in the meter's currency; 0 is no limit."""

    def __init__(
        self, limit: float, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._limit = limit
        self._now = now
        self._day = now().date()
        self._spent = 0.0

    @property
    def spent(self) -> float:
        """Today, so far."""
        self._turn_day()
        return self._spent

    def spend(self, cost: float) -> None:
        """Count what an answer cost."""
        self._turn_day()
        self._spent += cost

    def demand(self, model: str) -> None:
        """Raises `OutOfTokens` when nothing is left to ask ``model`` with."""
        if self._limit and self.spent >= self._limit:
            now = self._now()
            midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
            raise OutOfTokens(
                f"The money for {model} is spent for today.",
                f"{self._spent:.2f} of {self._limit:g} (serve.daily_cost).",
                "Ask a model of this house, or wait until midnight UTC.",
                retry_after_s=(midnight - now).total_seconds(),
            )

    def _turn_day(self) -> None:
        """As `Budgets` does: not when the clock is set back across midnight."""
        today = self._now().date()
        if today > self._day or self._day - today > timedelta(days=1):
            self._day, self._spent = today, 0.0
