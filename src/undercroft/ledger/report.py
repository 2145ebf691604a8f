"""Runs as one HTML page that stands alone: a table of facts, and a picture for each metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from undercroft.ledger.compare import Curve, Side, ordered, rows, settings

_COLOURS: Final = ("#0b6e69", "#b3402a", "#3d5a98", "#8a6d1b", "#7a3e8e", "#4d7c2f")
_WIDTH, _HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 16, 14, 34
_SMOOTHED_OVER: Final = 1 / 15  # of a run: short ones are smoothed little, so none lags behind
_MOST_POINTS: Final = 2_000  # of a line; more than there are pixels
_STYLE: Final = """
:root{--ink:#1d2327;--soft:#66707a;--paper:#ffffff;--line:#d5dbe0}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaed;--soft:#98a3ad;--paper:#171c20;
--line:#3a444c}}
body{background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif;max-width:84rem;
margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0 2rem}
th,td{text-align:left;padding:.25rem .9rem .25rem 0;border-bottom:1px solid var(--line);
vertical-align:top}
th{font-weight:600;color:var(--soft)}
td{font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.pictures{display:flex;flex-wrap:wrap;gap:1.5rem}
figure{margin:0}
svg text{fill:var(--soft);font:11px ui-monospace,Menlo,Consolas,monospace}
svg .axis{stroke:var(--line)}
.key{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em}
"""


def as_html(sides: Sequence[Side]) -> str:
    """The page. Raises `BadInput` as `compare.rows` does."""
    title = " and ".join(each.name for each in sides)
    heads = "".join(
        f'<th><span class="key" style="background:{_colour(number)}"></span>'
        f"{escape(each.name)}</th>"
        for number, each in enumerate(sides)
    )
    body = "".join(_row(name, values) for name, values in rows(sides))
    chosen = "".join(_row(name, values) for name, values in settings(sides))
    drawn = "".join(
        f"<figure><figcaption>{escape(metric)}</figcaption>"
        f"{picture([each.curves.get(metric) for each in sides], metric)}</figure>"
        for metric in ordered({name for each in sides for name in each.curves})
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{escape(sides[0].run.stage)}: {escape(title)}</h1>"
        f"<table><tr><th></th>{heads}</tr>{body}</table>"
        f'<div class="pictures">{drawn}</div>'
        f"<h2>Settings</h2><table><tr><th></th>{heads}</tr>{chosen}</table></html>\n"
    )


def picture(curves: Sequence[Curve | None], metric: str) -> str:
    """The curves over their steps as SVG: faint as measured, strong as smoothed."""
    there = [curve for curve in curves if curve is not None]
    values = [v for curve in there for v in curve.values if math.isfinite(v)]
    if not values:
        return "<p>Nothing finite was measured.</p>"
    low, high = min(values), max(values)
    high = high if high > low else low + 1
    last = max(curve.steps[-1] for curve in there)
    first = min(curve.steps[0] for curve in there)
    span = max(last - first, 1)

    def place(step: int, value: float) -> str:
        x = _LEFT + (step - first) / span * (_WIDTH - _LEFT - _RIGHT)
        y = _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return f"{x:.1f},{y:.1f}"

    lines: list[str] = []
    for number, curve in enumerate(curves):
        if curve is None:
            continue
        for found, opacity in ((curve.values, 0.25), (smoothed(curve.values), 1.0)):
            every = max(1, len(found) // _MOST_POINTS)
            pairs = list(zip(curve.steps, found, strict=True))[::every]
            points = " ".join(place(step, value) for step, value in pairs if math.isfinite(value))
            lines.append(
                f'<polyline points="{points}" fill="none" stroke="{_colour(number)}" '
                f'stroke-width="1.6" stroke-opacity="{opacity}"/>'
            )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}"><title>{escape(metric)} by step</title>'
        f"{_axes(low, high, first, last)}{''.join(lines)}</svg>"
    )


def smoothed(values: Sequence[float]) -> list[float]:
    """The exponential moving average over about `_SMOOTHED_OVER` of them, corrected for its start
    (Kingma and Ba 2015, section 3)."""
    kept = max(0.0, 1 - 1 / max(1.0, _SMOOTHED_OVER * len(values)))
    found: list[float] = []
    mean, weight = 0.0, 0.0
    for value in values:
        if math.isfinite(value):
            mean = kept * mean + (1 - kept) * value
            weight = kept * weight + (1 - kept)
        found.append(mean / weight if weight else math.nan)
    return found


def _axes(low: float, high: float, first: int, last: int) -> str:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = [
        f'<path class="axis" fill="none" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>',
        f'<text x="{_LEFT}" y="{_HEIGHT - 12}">step {first:,}</text>',
        f'<text x="{right}" y="{_HEIGHT - 12}" text-anchor="end">{last:,}</text>',
    ]
    for part in range(5):
        y = _TOP + part / 4 * (bottom - _TOP)
        value = high - part / 4 * (high - low)
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.0f}" text-anchor="end">{value:.3g}</text>')
    return "".join(parts)


def _row(name: str, values: Sequence[str]) -> str:
    cells = "".join(f"<td>{escape(value)}</td>" for value in values)
    return f"<tr><th>{escape(name)}</th>{cells}</tr>"


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]
