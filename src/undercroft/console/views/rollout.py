"""The rollout under way, or the last one: both arms, every measure, and how it went so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from undercroft.project import Project
from undercroft.records import Decision
from undercroft.release import rollout
from undercroft.trials.tally import RATES

_DECISIONS = 12


@dataclass(frozen=True)
class Measure:
    """One row: what both arms did, and what may be said of the difference."""

    name: str
    is_rate: bool
    canary: float
    control: float
    low: float | None
    high: float | None
    evidence: float
    word: str


@dataclass(frozen=True)
class RolloutPage:
    """``trial`` is what `release.rollout.status` tells; None before the first rollout."""

    trial: Mapping[str, Any] | None
    measures: Sequence[Measure]
    decisions: Sequence[Decision]

    @property
    def is_open(self) -> bool:
        return self.trial is not None and self.trial["status"] in ("running", "held")

    @property
    def started_at(self) -> datetime:
        assert self.trial is not None
        return datetime.fromtimestamp(self.trial["started_at"], UTC)

    def curve(self, name: str) -> list[tuple[float, float]]:
        """Canary minus control, in points for rates, over the pairs counted."""
        assert self.trial is not None
        found = []
        for point in self.trial["curve"]:
            each = next(one for one in point["standings"] if one["measure"] == name)
            change = each["canary"] - each["control"]
            found.append((float(point["pairs"]), change * 100 if name in RATES else change))
        return found


def current(project: Project) -> RolloutPage:
    """The page's data. Raises `BadInput` for a trial that cannot be read."""
    trial = rollout.status(project)
    ledger = project.ledger
    found = [each for kind in ("rollout", "rollback") for each in ledger.decisions(kind=kind)]
    newest = sorted(found, key=lambda each: each.at, reverse=True)[:_DECISIONS]
    standings = trial["standings"] if trial else []
    return RolloutPage(trial, [_measure(each) for each in standings], newest)


def _measure(each: Mapping[str, Any]) -> Measure:
    word = "harm" if each["is_harm"] else "shown to be well" if each["is_safe"] else "open"
    return Measure(
        each["measure"], each["measure"] in RATES, each["canary"], each["control"], each["low"],
        each["high"], max(0.0, each["evidence"]), word,
    )  # fmt: skip
