"""The rollout under way, or the last one: both arms, every measure, and how it went so far."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from undercroft.errors import NotFound
from undercroft.processes import GATEWAY, read_announcement
from undercroft.project import Project
from undercroft.records import Artifact, Decision, Ref
from undercroft.release import live, rollout
from undercroft.trials.progress import Progress, progress
from undercroft.trials.tally import RATES

_DECISIONS = 12
_FEWEST = 5  # pairs before a difference is worth a place in a picture


@dataclass(frozen=True)
class RolloutPage:
    """``trial`` is what `release.rollout.status` tells; None before the first rollout.

    ``back`` is the route that an undo would go back to while none is open, and ``next`` the newest
    one where it is not live.
    """

    trial: Mapping[str, Any] | None
    at: Progress | None
    decisions: Sequence[Decision]
    live: Artifact | None
    back: Artifact | None
    next: Artifact | None
    is_counted: bool

    @property
    def is_open(self) -> bool:
        return self.at is not None and self.at.is_open

    @property
    def started_at(self) -> datetime:
        assert self.trial is not None
        return datetime.fromtimestamp(self.trial["started_at"], UTC)

    def curve(self, measure: str) -> list[tuple[float, float, float, float]]:
        """Over the pairs counted: lower bound, difference and upper bound; in points for rates,
        else as ratios."""
        assert self.trial is not None
        found = []
        for point in self.trial["curve"]:
            each = next(one for one in point["standings"] if one["measure"] == measure)
            if point["pairs"] >= _FEWEST and (drawn := _drawn(each)):
                found.append((float(point["pairs"]), *drawn))
        return found


def _drawn(each: Mapping[str, Any]) -> tuple[float, float, float] | None:
    if each["measure"] in RATES:
        change = each["canary"] - each["control"]
        return each["low"] * 100, change * 100, each["high"] * 100
    if not each["canary"] or not each["control"]:
        return None
    high = each["high"]
    return each["low"] or 0.0, each["canary"] / each["control"], (
        float("inf") if high is None else high
    )  # fmt: skip


def current(project: Project) -> RolloutPage:
    """The page's data. Raises `BadInput` for a trial that cannot be read."""
    trial = rollout.status(project)
    ledger = project.ledger
    kinds = ("release", "rollout", "rollback")
    found = [each for kind in kinds for each in ledger.decisions(kind=kind, limit=_DECISIONS)]
    newest = sorted(found, key=lambda each: each.at, reverse=True)[:_DECISIONS]
    at = progress(trial, time.time()) if trial else None
    served = live.live_route(project)
    is_open = at is not None and at.is_open
    return RolloutPage(
        trial, at, newest, served,
        None if is_open or served is None else _before(project, served),
        None if is_open or served is None else _newer(project, served),
        read_announcement(project.state / GATEWAY.announcement) is not None,
    )  # fmt: skip


def _before(project: Project, served: Artifact) -> Artifact | None:
    try:
        return live.before(project, served)
    except NotFound:
        return None


def _newer(project: Project, served: Artifact) -> Artifact | None:
    newest = project.ledger.artifact(Ref("route", project.name))
    return newest if (newest.ref.version or 0) > (served.ref.version or 0) else None
