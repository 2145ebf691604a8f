"""How far a trial is, and what it waits for, from what `release.rollout.status` tells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from undercroft.trials.assignment import mismatch
from undercroft.trials.tally import RATES

OPEN = ("running", "held")


@dataclass(frozen=True, slots=True)
class Progress:
    """``step`` of ``steps`` counts from 1, 0 while only shadow requests are made.

    ``pairs`` of ``wanted`` are there for this step; ``left_s`` seconds of it are left at least,
    and ``deadline_s`` until too little traffic has the outcome of ``rollout.undecided``.
    ``pairs_s`` seconds are needed for the other pairs at the pace so far; None without a pace.
    ``even`` is how probable arms as uneven as these are by chance, at most, however often one looks
    (`assignment.mismatch`). ``waits_for`` is a sentence, empty where nothing is waited for.
    """

    is_open: bool
    step: int
    steps: int
    pairs: int
    wanted: int
    left_s: float
    deadline_s: float
    pairs_s: float | None
    even: float
    waits_for: str


def progress(status: Mapping[str, Any], now: float) -> Progress:
    """Where the trial stands at ``now``, in seconds since 1970."""
    settings = status["settings"]
    units = {arm: int(count) for arm, count in status["units"].items()}
    pairs = min(units.values(), default=0)
    is_shadow = not status["share"]
    step = 0 if is_shadow else status["step"] + 1
    wanted = settings["step_pairs"] * max(step, 1)
    left_s = max(0.0, settings["step_minutes"] * 60 - (now - status["step_at"]))
    pairs_s = _seconds_for(wanted - pairs, pairs, now - status["started_at"])
    return Progress(
        status["status"] in OPEN, step, len(settings["steps"]), pairs, wanted, left_s,
        status["started_at"] + settings["deadline_hours"] * 3600 - now, pairs_s,
        min(1.0, math.exp(-mismatch(units))),
        _waits_for(status, step=step, pairs=pairs, wanted=wanted, left_s=left_s),
    )  # fmt: skip


def _seconds_for(missing: int, pairs: int, passed_s: float) -> float | None:
    if missing <= 0:
        return 0.0
    return missing * passed_s / pairs if pairs and passed_s > 0 else None


def _waits_for(
    status: Mapping[str, Any], *, step: int, pairs: int, wanted: int, left_s: float
) -> str:
    settings = status["settings"]
    found = ""
    if status["status"] == "held":
        found = "Somebody has to decide: promote it, or take it back."
    elif status["status"] != "running":
        pass
    elif step == 0:
        found = f"{status['shadows']:,} of {settings['shadow_requests']:,} shadow requests."
    elif status["kind"] == "abtest":
        found = "It goes on until somebody ends it; harm ends it at once."
    elif pairs < wanted:
        found = f"{pairs:,} of {wanted:,} pairs that this step needs."
    elif left_s > 0:
        found = f"This step lasts {left_s / 60:.1f} minutes more at least."
    elif step == len(settings["steps"]):
        unproven = [_unproven(each, settings) for each in status["standings"]]
        found = " ".join(said for said in unproven if said)
    return found


def _unproven(each: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Why one measure still stands in the way of promotion; empty where it does not."""
    if each["measure"] not in settings["must_pass"] or each["is_safe"]:
        return ""
    if each["measure"] in RATES:
        most, allowed = f"{each['high'] * 100:.1f}", f"{settings['promote_margin'] * 100:g} points"
    else:
        high = each["high"]
        most = "∞" if high is None or math.isinf(high) else f"{(high - 1) * 100:.0f}"
        allowed = f"{settings['tolerance'] * 100:g} %"
    return f"{each['measure'].capitalize()} may be up to {most} worse; {allowed} are allowed."
