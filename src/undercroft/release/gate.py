"""May this model be served? A pure function of a scorecard's numbers and the settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from undercroft.errors import BadConfig, nearest
from undercroft.settings import ReleaseSettings

#: Metrics that end so are judged by their ratio: a perplexity has no upper end that 0.05 would be
#: a share of.
RELATIVE = "perplexity"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``reason`` is one sentence for people, with the numbers that decided."""

    released: bool
    reason: str


def judge(evaluation: Mapping[str, Any], settings: ReleaseSettings) -> Verdict:
    """Whether the tuned model of ``evaluation`` (a scorecard's summary) may be released.

    It may when its ``settings.metric`` is better than the base's and no other metric is worse by
    more than ``settings.max_regression`` (of a perplexity: by more than that share of it), those
    in ``settings.not_judged`` aside. With ``settings.require_significance`` what may be chance
    counts neither way: two refusals among 28 questions are no regression, six are. Raises
    `BadConfig` for a metric that was not measured.
    """
    differences: Mapping[str, Mapping[str, Any]] = evaluation["differences"]
    if settings.metric not in differences:
        near = nearest(settings.metric, differences)
        raise BadConfig(
            f"release.metric is {settings.metric!r}, which the scorecard does not have.",
            f"The nearest is {near!r}." if near else f"Measured were {', '.join(differences)}.",
            "Correct it in undercroft.toml.",
        )
    headline = differences[settings.metric]
    change = _change(evaluation, settings.metric)
    interval = f"interval of the difference {headline['low']:+.3f} to {headline['high']:+.3f}"
    cases = f"on {headline['cases']} cases"
    if not headline["better"]:
        return Verdict(False, f"{change} {cases}: the tuned model is not better than the base.")
    if settings.require_significance and not headline["significant"]:
        return Verdict(False, f"{change} {cases} may be chance: {interval}.")
    worse = [_change(evaluation, name) for name in _regressions(evaluation, settings)]
    if worse:
        allowed = f"more than release.max_regression = {settings.max_regression:g} allows"
        return Verdict(False, f"{change} {cases}, but {', '.join(worse)} fell back {allowed}.")
    return Verdict(True, f"{change} {cases}, {interval}.")


def _regressions(evaluation: Mapping[str, Any], settings: ReleaseSettings) -> Iterator[str]:
    for name, one in evaluation["differences"].items():
        loss = one["difference"] if one["lower_is_better"] else -one["difference"]
        if name.endswith(RELATIVE):
            loss /= evaluation["base"][name]
        judged = name != settings.metric and name not in settings.not_judged
        real = one["significant"] or not settings.require_significance
        if judged and real and loss > settings.max_regression:
            yield name


def _change(evaluation: Mapping[str, Any], name: str) -> str:
    return f"{name} {evaluation['base'][name]:.3f} → {evaluation['tuned'][name]:.3f}"
