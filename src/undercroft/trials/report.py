"""A trial as one HTML page that stands alone: where each measure stands, and how it came there."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from undercroft.trials import words
from undercroft.trials.progress import progress
from undercroft.trials.tally import RATES

_WIDTH, _HEIGHT = 560, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 12, 34
_STYLE: Final = """
:root{--ink:#1d2327;--soft:#66707a;--paper:#ffffff;--line:#d5dbe0;--band:#0b6e6933;--mean:#0b6e69;
--bad:#b3402a}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaed;--soft:#98a3ad;--paper:#171c20;
--line:#3a444c;--band:#4fb3ad33;--mean:#4fb3ad;--bad:#e07a63}}
body{background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif;max-width:80rem;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;overflow-wrap:anywhere}
.wide{overflow-x:auto}
table{border-collapse:collapse;margin:1rem 0 2rem}
th,td{text-align:right;padding:.25rem .9rem .25rem 0;border-bottom:1px solid var(--line);
font-variant-numeric:tabular-nums;white-space:nowrap}
th:first-child,td:last-child{text-align:left}
th{font-weight:600;color:var(--soft)}th[scope]{color:var(--ink)}
small{display:block;font-weight:400;color:var(--soft)}
.harm td{color:var(--bad)}
.pictures{display:flex;flex-wrap:wrap;gap:1.5rem}
figure{margin:0;max-width:100%}svg{max-width:100%;height:auto}
svg text{fill:var(--soft);font:11px ui-monospace,Menlo,Consolas,monospace}
.axis{stroke:var(--line)}.zero{stroke:var(--soft);stroke-dasharray:3 3}
.band{fill:var(--band)}.mean{fill:none;stroke:var(--mean);stroke-width:1.6}
.wall{stroke:var(--bad)}
"""


def as_html(status: Mapping[str, Any]) -> str:
    """The page of what `release.rollout.status` tells."""
    kind = "A/B test" if status["kind"] == "abtest" else "Rollout"
    title = f"{kind}: {status['canary']} against {status['control']}"
    heads = ("", "control", "canary", "difference", "surely", "evidence of harm", "")
    rows = "".join(_row(each, status["settings"]) for each in status["standings"])
    drawn = "".join(_pictures(status["curve"], status["settings"]))
    table = f"<table><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>{rows}</table>"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<main><h1>{escape(title)}</h1>"
        f"<p><strong>{escape(status['status'].capitalize())}</strong>. {escape(status['reason'])} "
        f"{escape(conclusion(status))}</p><p>{_circumstances(status)}</p>"
        f'<div class="wide">{table if rows else ""}</div>'
        f'<div class="pictures">{drawn or "<p>Nothing was measured yet.</p>"}</div>'
        "<p>The line is what was measured, the band where it surely is; dashed: no difference; "
        "red: the most that promotion allows. Bounds and evidence hold however often they are "
        "looked at; at 100 % of the evidence of harm that is needed the canary is rolled back. "
        "Rates are shares of units, with their difference in points; latency and cost are "
        "compared as ratios.</p></main></html>\n"
    )


def conclusion(status: Mapping[str, Any]) -> str:
    """What may be said of the canary, in a sentence or two."""
    said: dict[str, list[str]] = {}
    for each in status["standings"]:
        said.setdefault(words.standing(each), []).append(each["measure"])
    shown = [
        f"{names} {', '.join(said[word])}"
        for word, names in (
            ("harm", "harm in"), ("worse", "worse in"), ("better", "better in"),
            ("no worse", "no worse in"), ("open", "open in"),
        )
        if word in said
    ]  # fmt: skip
    return f"The canary: {'; '.join(shown)}." if shown else ""


def _circumstances(status: Mapping[str, Any]) -> str:
    """When, by whom, how much traffic, and whether the arms filled evenly."""
    began = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(status["started_at"]))
    units = ", ".join(f"{arm} {count:,}" for arm, count in status["units"].items())
    even = progress(status, status["started_at"]).even
    return (
        f"Begun {began} by {escape(status['started_by'])}; each arm has {status['share']:.0%} of "
        f"the traffic; units: {units or 'none yet'}"
        + (f", so uneven by chance with a probability of {even:.1g} at most" if even < 1 else "")
        + f". Harm is looked for at a level of {status['settings']['harm_alpha']:g} over all "
        f"measures, bounds are at {1 - status['settings']['promote_alpha']:.0%} each."
    )


def _row(each: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    meaning = escape(words.meaning(each["measure"], settings))
    name = f"{escape(each['measure'])}<small>{meaning}</small>"
    cells = (
        words.value(each, "control"), words.value(each, "canary"), words.difference(each),
        words.between(each), f"{words.harm(each, settings):.0%}", words.standing(each),
    )  # fmt: skip
    said = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    mark = ' class="harm"' if each["is_harm"] else ""
    return f'<tr{mark}><th scope="row">{name}</th>{said}</tr>'


def _pictures(curve: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[str]:
    if len(curve) < 2:
        return []
    found = []
    for number, first in enumerate(curve[0]["standings"]):
        is_rate = first["measure"] in RATES
        points = [(each["pairs"], each["standings"][number]) for each in curve]
        drawn = [
            (pairs, *_drawn(each, is_rate)) for pairs, each in points if _is_known(each, is_rate)
        ]
        if len(drawn) < 2:
            continue
        unit = "points" if is_rate else "ratio"
        limit = settings["promote_margin"] * 100 if is_rate else 1 + settings["tolerance"]
        said = f"{first['measure']}: canary against control, {unit}"
        found.append(
            f"<figure><figcaption>{escape(said)}</figcaption>"
            f"{_picture(drawn, 0.0 if is_rate else 1.0, limit, said)}</figure>"
        )
    return found


def _is_known(each: Mapping[str, Any], is_rate: bool) -> bool:
    if is_rate:
        return bool(each["high"] - each["low"] < 1)
    ends = (each["low"], each["high"])
    return bool(each["control"]) and all(end is not None and 0 < end < math.inf for end in ends)


def _drawn(each: Mapping[str, Any], is_rate: bool) -> tuple[float, float, float]:
    """Lower bound, what was measured, upper bound."""
    if is_rate:
        change = each["canary"] - each["control"]
        return each["low"] * 100, change * 100, each["high"] * 100
    return each["low"], each["canary"] / each["control"], each["high"]


def _picture(
    points: Sequence[tuple[float, float, float, float]], zero: float, limit: float, said: str
) -> str:
    """The band between the bounds over the pairs counted, and the measured value in it."""
    first, last = points[0][0], points[-1][0]
    bottom = min(zero, *(low for _, low, _, _ in points))
    top = max(zero, limit, *(high for *_, high in points))

    def x(pairs: float) -> float:
        return _LEFT + (pairs - first) / max(last - first, 1) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _TOP + (top - value) / max(top - bottom, 1e-9) * (_HEIGHT - _TOP - _BOTTOM)

    upper = [f"{x(p):.1f},{y(high):.1f}" for p, _, _, high in points]
    lower = [f"{x(p):.1f},{y(low):.1f}" for p, low, _, _ in reversed(points)]
    mean = " ".join(f"{x(p):.1f},{y(value):.1f}" for p, _, value, _ in points)
    labels = "".join(
        f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3g}</text>'
        for value in _apart((zero, bottom, top, limit), (top - bottom) / 12)
    )
    base = _HEIGHT - _BOTTOM
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" '
        f'aria-label="{escape(said)}, now {points[-1][2]:.3g}">'
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{base}" y2="{base}"/>'
        f'<polygon class="band" points="{" ".join(upper + lower)}"/>'
        f'<line class="zero" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(zero):.1f}" '
        f'y2="{y(zero):.1f}"/><line class="wall" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" '
        f'y1="{y(limit):.1f}" y2="{y(limit):.1f}"/><polyline class="mean" points="{mean}"/>{labels}'
        f'<text x="{_LEFT}" y="{_HEIGHT - 14}">{first:,.0f} pairs</text>'
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 14}" text-anchor="end">{last:,.0f}</text></svg>'
    )


def _apart(values: Sequence[float], distance: float) -> list[float]:
    """Those that have room for their label, the first ones first."""
    found: list[float] = []
    for value in values:
        if all(abs(value - other) >= distance for other in found):
            found.append(value)
    return found
