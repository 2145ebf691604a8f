"""What is to become of a trial, as a pure function of what both arms did."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from undercroft.settings import RolloutSettings
from undercroft.trials import words
from undercroft.trials.assignment import CANARY, CONTROL, mismatch
from undercroft.trials.tally import RATES, Tally

Action = Literal["wait", "advance", "promote", "hold", "roll back"]

MISMATCH_ALPHA = 0.001  # as small as is usual for sample ratios: an alarm stops everything
NUM_MEASURES = len(RATES) + 2  # which share ``harm_alpha`` among them


@dataclass(frozen=True, slots=True)
class Standing:
    """One measure: both arms' values, bounds on the difference, and what they say.

    A rate's difference is canary - control; latency's and cost's are ratios. ``evidence`` of harm
    is 1 or more where there is harm: it is in units of what is needed.
    """

    measure: str
    canary: float
    control: float
    low: float
    high: float
    evidence: float
    is_harm: bool
    is_safe: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """``reason`` is one sentence for people, with the numbers that decided."""

    action: Action
    reason: str
    standings: tuple[Standing, ...]


def judge(
    tally: Tally, settings: RolloutSettings, *, step: int, step_s: float, total_s: float
) -> Verdict:
    """The verdict ``step_s`` seconds into step ``step`` (0 is the first) of a trial that began
    ``total_s`` seconds ago. It may be asked for at any moment, as often as one likes.

    A step ends with enough units and time; the last one in promotion, once every measure in
    ``must_pass`` is shown to be well. No step begins while the arms fill unevenly.
    """
    standings = tuple(standing(tally, settings))
    found = _alarm(tally, settings, standings) or _progress(
        tally, settings, standings, step=step, step_s=step_s
    )
    if found is None and total_s >= settings.deadline_hours * 3600:
        reason = f"Not decided after {settings.deadline_hours:g} hours and {tally.pairs} pairs."
        found = (settings.undecided, reason)
    action, reason = found or ("wait", _waits_for(tally, settings, standings, step))
    return Verdict(action, reason, standings)


def _alarm(
    tally: Tally, settings: RolloutSettings, standings: Iterable[Standing]
) -> tuple[Action, str] | None:
    if tally.streak >= settings.failures_in_a_row:
        return "roll back", f"The new route failed {tally.streak} times in a row."
    if harmed := [_harm(each) for each in standings if each.is_harm]:
        return "roll back", f"The new route does worse: {'; '.join(harmed)}."
    if mismatch(tally.units) > -math.log(MISMATCH_ALPHA):
        sizes = f"{tally.units[CANARY]} and {tally.units[CONTROL]} units"
        return "hold", f"The arms do not fill evenly: {sizes}. Something besides chance decides."
    return None


def _progress(
    tally: Tally,
    settings: RolloutSettings,
    standings: Iterable[Standing],
    *,
    step: int,
    step_s: float,
) -> tuple[Action, str] | None:
    if tally.pairs < settings.step_pairs * (step + 1) or step_s < settings.step_minutes * 60:
        return None
    if step + 1 < len(settings.steps):
        return "advance", f"No harm in {tally.pairs} pairs."
    if any(each.measure in settings.must_pass and not each.is_safe for each in standings):
        return None
    shown = ", ".join(settings.must_pass) or "nothing had to be"
    return "promote", f"Shown to be well in {tally.pairs} pairs: {shown}."


def standing(tally: Tally, settings: RolloutSettings) -> Iterator[Standing]:
    """Every measure as it stands now."""
    alpha = settings.harm_alpha / NUM_MEASURES
    for name in RATES:
        pairs = tally.rates[name].pairs
        low, high = pairs.bounds(settings.promote_alpha)
        evidence = pairs.log_evidence(settings.harm_margin) / -math.log(alpha)
        is_safe = high < settings.promote_margin
        yield Standing(
            name, pairs.canary, pairs.control, low, high, evidence, evidence >= 1, is_safe
        )
    share = settings.latency_quantile
    yield _ratio(
        "latency",
        {arm: each.quantile(share) for arm, each in tally.seconds.items()},
        {arm: each.quantile_bounds(share, alpha / 2) for arm, each in tally.seconds.items()},
        {
            arm: each.quantile_bounds(share, settings.promote_alpha / 2)
            for arm, each in tally.seconds.items()
        },
        settings.tolerance,
    )
    yield _ratio(
        "cost",
        {arm: each.total / max(each.count, 1) for arm, each in tally.cost.items()},
        {arm: each.mean_bounds(alpha / 2) for arm, each in tally.cost.items()},
        {arm: each.mean_bounds(settings.promote_alpha / 2) for arm, each in tally.cost.items()},
        settings.tolerance,
    )


def _ratio(
    measure: str,
    values: Mapping[str, float],
    certain: Mapping[str, tuple[float, float]],
    likely: Mapping[str, tuple[float, float]],
    tolerance: float,
) -> Standing:
    """A measure whose canary may be ``tolerance`` above the control, as a share of it: by bounds at
    the level of harm (``certain``) and of promotion (``likely``)."""
    allowed = 1 + tolerance
    low = _over(likely[CANARY][0], likely[CONTROL][1])
    high = _at_most(likely[CANARY][1], likely[CONTROL][0])
    evidence = _over(certain[CANARY][0], certain[CONTROL][1]) / allowed
    return Standing(
        measure, values[CANARY], values[CONTROL], low, high, evidence, evidence > 1, high < allowed
    )


def _at_most(above: float, below: float) -> float:
    """The largest ratio that bounds on positive numbers allow: infinite where one is not known,
    and 0 where the upper one is nothing."""
    if above <= 0:
        return 0.0
    return above / below if below > 0 and math.isfinite(above) else math.inf


def _over(above: float, below: float) -> float:
    """The smallest ratio that they allow: 0 where one is not known."""
    if not math.isfinite(below) or above <= 0:
        return 0.0
    return above / below if below > 0 else math.inf


def _harm(each: Standing) -> str:
    if each.measure in RATES:
        return f"{each.measure} {each.control:.1%} → {each.canary:.1%}, surely more"
    control, canary = (words.value(asdict(each), arm) for arm in (CONTROL, CANARY))
    return f"{each.measure} {control} → {canary}, surely beyond the tolerance"


def _waits_for(
    tally: Tally, settings: RolloutSettings, standings: Iterable[Standing], step: int
) -> str:
    wanted = settings.step_pairs * (step + 1)
    if tally.pairs < wanted:
        return f"{tally.pairs} of {wanted} pairs that this step needs."
    open_ = [e.measure for e in standings if e.measure in settings.must_pass and not e.is_safe]
    if open_ and step + 1 == len(settings.steps):
        return f"Not yet shown to be well: {', '.join(open_)}, after {tally.pairs} pairs."
    return f"This step lasts {settings.step_minutes:g} minutes at least."
