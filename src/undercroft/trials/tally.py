"""What both arms of a trial did so far: each unit's first request counts, once.

Requests of one conversation or person are alike: the second says little new, and a test that took
them for independent would see harm where one canary's user has bad luck all day.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from undercroft.trials.assignment import CANARY, CONTROL
from undercroft.trials.bounds import Spread
from undercroft.trials.evidence import Pairing, Pairs

RATES = ("errors", "findings", "unfinished", "unhappy")
"""Shares of units: whose request failed, whose answer a screen had to mask, whose answer did not
come to its end or declined, whose user rated it down."""

MOST_UNITS = 200_000  # remembered as counted; beyond it the oldest may count again


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """How one request of an arm went. ``seconds`` to the first text, ``cost`` in the meter's
    currency; what could not happen, such as a finding in an answer that failed, is None."""

    is_error: bool
    has_finding: bool | None = None
    is_unfinished: bool | None = None
    seconds: float | None = None
    cost: float | None = None


class Event(msgspec.Struct, frozen=True, array_like=True):
    """What counts once of a unit: how its first request went, or else its user's ``rating``.

    ``mark`` stands for the unit, so that nobody's name or words are kept.
    """

    arm: str
    mark: bytes
    outcome: Outcome | None
    rating: int = 0


def request_of(arm: str, unit: str, outcome: Outcome) -> Event:
    """One request of the canary's or the control's."""
    return Event(arm, _mark(f"request\n{unit}"), outcome)


def rating_of(arm: str, unit: str, rating: int) -> Event:
    """What a user thought: -1, 0 or 1."""
    return Event(arm, _mark(f"rating\n{unit}"), None, rating)


def _mark(what: str) -> bytes:
    return hashlib.blake2b(what.encode(), digest_size=8).digest()


@dataclass(slots=True)
class Tally:
    """See the module. ``streak`` is of failures of the canary in a row, whoever asked."""

    rates: dict[str, Pairing] = field(default_factory=lambda: {name: Pairing() for name in RATES})
    seconds: dict[str, Spread] = field(
        default_factory=lambda: {arm: Spread() for arm in (CANARY, CONTROL)}
    )
    cost: dict[str, Spread] = field(
        default_factory=lambda: {arm: Spread() for arm in (CANARY, CONTROL)}
    )
    units: dict[str, int] = field(default_factory=lambda: {CANARY: 0, CONTROL: 0})
    requests: dict[str, int] = field(default_factory=lambda: {CANARY: 0, CONTROL: 0})
    shadows: int = 0
    streak: int = 0
    _seen: OrderedDict[bytes, None] = field(default_factory=OrderedDict[bytes, None])

    @property
    def pairs(self) -> int:
        """Units that both arms have."""
        return min(self.units.values())

    def add(self, arm: str, unit: str, outcome: Outcome) -> None:
        """One request of the canary's or the control's."""
        self.requests[arm] += 1
        self.follow(arm, outcome.is_error)
        self.take(request_of(arm, unit, outcome))

    def add_rating(self, arm: str, unit: str, rating: int) -> None:
        """What a user thought: -1, 0 or 1."""
        self.take(rating_of(arm, unit, rating))

    def add_shadow(self, is_error: bool) -> None:
        """One request that the canary answered unseen."""
        self.shadows += 1
        self.follow(CANARY, is_error)

    def follow(self, arm: str, is_error: bool) -> None:
        """Count failures of the canary in a row."""
        if arm == CANARY:
            self.streak = self.streak + 1 if is_error else 0

    def knows(self, event: Event) -> bool:
        """Whether it is counted already."""
        return event.mark in self._seen

    def take(self, event: Event) -> None:
        """Count what counts once, if it is new."""
        if self.knows(event):
            return
        self._seen[event.mark] = None
        if len(self._seen) > MOST_UNITS:
            self._seen.popitem(last=False)
        is_canary, outcome = event.arm == CANARY, event.outcome
        if outcome is None:
            self.rates["unhappy"].add(is_canary, event.rating < 0)
            return
        self.units[event.arm] += 1
        self.rates["errors"].add(is_canary, outcome.is_error)
        if outcome.has_finding is not None:
            self.rates["findings"].add(is_canary, outcome.has_finding)
        if outcome.is_unfinished is not None:
            self.rates["unfinished"].add(is_canary, outcome.is_unfinished)
        if outcome.seconds is not None:
            self.seconds[event.arm].add(outcome.seconds)
        if outcome.cost is not None:
            self.cost[event.arm].add(outcome.cost)

    def state(self) -> dict[str, Any]:
        """Plain values for JSON, without who was seen."""
        return {
            "rates": {
                name: {
                    "pairs": asdict(each.pairs),
                    "canary": list(each.canary),
                    "control": list(each.control),
                }
                for name, each in self.rates.items()
            },
            "seconds": {arm: _of_spread(each) for arm, each in self.seconds.items()},
            "cost": {arm: _of_spread(each) for arm, each in self.cost.items()},
            "units": dict(self.units),
            "requests": dict(self.requests),
            "shadows": self.shadows,
            "streak": self.streak,
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Tally:
        """The tally that said ``state``; units seen before may count once more."""
        found = cls(
            seconds={arm: _spread(each) for arm, each in state["seconds"].items()},
            cost={arm: _spread(each) for arm, each in state["cost"].items()},
            units=dict(state["units"]),
            requests=dict(state["requests"]),
            shadows=state["shadows"],
            streak=state["streak"],
        )
        for name, each in state["rates"].items():
            found.rates[name].pairs = Pairs(**each["pairs"])
            found.rates[name].canary.extend(each["canary"])
            found.rates[name].control.extend(each["control"])
        return found


def _of_spread(spread: Spread) -> dict[str, Any]:
    bins = {str(place): count for place, count in sorted(spread.bins.items())}
    return {"bins": bins, "total": spread.total, "squares": spread.squares}


def _spread(state: Mapping[str, Any]) -> Spread:
    bins = {int(place): int(count) for place, count in state["bins"].items()}
    return Spread(bins, sum(bins.values()), state["total"], state["squares"])
