"""The measures of a trial in words and figures, the same in a terminal, on a page and in a report.

``each`` is a `verdict.Standing` as plain values; JSON has made None of what is infinite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from undercroft.trials.tally import RATES

NONE: Final = "-"
MEANINGS: Final[Mapping[str, str]] = {
    "errors": "requests that failed",
    "findings": "answers in which a screen masked something",
    "unfinished": "answers that were cut off or declined",
    "unhappy": "rated answers that were rated down",
    "latency": "seconds to the first text",
    "cost": "mean of an answer",
}


def meaning(measure: str, settings: Mapping[str, Any]) -> str:
    """What is measured, in a few words."""
    found = MEANINGS[measure]
    if measure == "latency":
        return f"{found}, {settings['latency_quantile'] * 100:g} of 100 are faster"
    return found


def is_measured(each: Mapping[str, Any]) -> bool:
    """Whether anything was counted."""
    is_bounded = each["measure"] in RATES and (each["low"] > -1 or each["high"] < 1)
    return bool(each["canary"] or each["control"] or is_bounded)


def value(each: Mapping[str, Any], arm: str) -> str:
    """What one arm did."""
    if not is_measured(each):
        return NONE
    found = float(each[arm])
    if each["measure"] in RATES:
        return f"{found:.2%}"
    if each["measure"] == "latency":
        return f"{found:.2f} s" if found >= 1 else f"{found * 1000:.0f} ms"
    return f"{found:.3g}"


def difference(each: Mapping[str, Any]) -> str:
    """The canary's above the control's: points of a rate, else how many times as much."""
    if not is_measured(each):
        return NONE
    if each["measure"] in RATES:
        return f"{(each['canary'] - each['control']) * 100:+.2f}"
    return f"{each['canary'] / each['control']:.2f} times" if each["control"] else NONE


def between(each: Mapping[str, Any]) -> str:
    """Where the difference surely is."""
    low, high = each["low"], each["high"]
    if each["measure"] in RATES:
        if low <= -1 and high >= 1:
            return NONE
        return f"{low * 100:+.1f} to {high * 100:+.1f} points"
    if not low and (high is None or math.isinf(high)):
        return NONE
    return f"{low or 0:.2f} to {_times(high)} times"


def harm(each: Mapping[str, Any], settings: Mapping[str, Any]) -> float:
    """How much of the evidence that rolls back there is: 1 does. What a ratio has of it begins
    where the canary is surely above the control at all."""
    found = float(each["evidence"] or 0.0)
    if each["measure"] not in RATES and settings["tolerance"]:
        found = (found * (1 + settings["tolerance"]) - 1) / settings["tolerance"]
    return max(found, 0.0)


def _times(high: float | None) -> str:
    return "∞" if high is None or math.isinf(high) else f"{high:.2f}"


def standing(each: Mapping[str, Any]) -> str:
    """What may be said, in a word or two."""
    none = 0.0 if each["measure"] in RATES else 1.0
    if each["is_harm"]:
        return "harm"
    if each["high"] is not None and each["high"] < none:
        return "better"
    if each["is_safe"]:
        return "no worse"
    if each["low"] is not None and each["low"] > none:
        return "worse"
    return "open" if is_measured(each) else "no data"
