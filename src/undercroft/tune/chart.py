"""All candidates as one HTML page that stands alone: speed, what was lost, and sizes as areas."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

_WIDTH, _HEIGHT = 760, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 150, 20, 48
_LARGEST = 22.0  # radius of the largest model, in pixels
_STYLE: Final = """
:root{--ink:#1d2327;--soft:#66707a;--paper:#ffffff;--line:#d5dbe0;--dot:#0b6e69;--best:#b3402a}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaed;--soft:#98a3ad;--paper:#171c20;
--line:#3a444c;--dot:#4fb3ad;--best:#e07a63}}
body{background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif;max-width:70rem;
margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1.5rem 0}
th,td{text-align:right;padding:.25rem 1rem .25rem 0;border-bottom:1px solid var(--line);
font-variant-numeric:tabular-nums}
th:first-child,td:first-child{text-align:left}
th{font-weight:600;color:var(--soft)}
tr.best td{color:var(--best);font-weight:600}
svg text{fill:var(--soft);font:11px ui-monospace,Menlo,Consolas,monospace}
svg .name{fill:var(--ink)}
.axis{stroke:var(--line)}
circle{fill:var(--dot);fill-opacity:.35;stroke:var(--dot)}
circle.best{fill:var(--best);stroke:var(--best)}
"""


def as_html(points: Sequence[Mapping[str, Any]], parent: str, machine: str) -> str:
    """The page of `points.facts`."""
    heads = (
        "", "size", "answer", "prefill tokens/s", "decode tokens/s", "guesses right", "perplexity",
        "divergence", "same choice",
    )  # fmt: skip
    rows = "".join(_row(each) for each in sorted(points, key=lambda each: each["answer_s"]))
    title = f"What is best for {parent}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{escape(title)}</h1><p>On {escape(machine)}. Farther right is faster, farther down "
        "is truer to the parent, a smaller circle is a smaller file. Divergence is from the "
        f"parent, in nats a token.</p>{_picture(points)}"
        f"<table><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>{rows}</table></html>\n"
    )


def _row(each: Mapping[str, Any]) -> str:
    cells = (
        escape(each["name"]), f"{each['size_bytes'] / 1e6:,.0f} MB", f"{each['answer_s']:.2f} s",
        f"{each['prefill']:.0f}", f"{each['decode']:.1f}",
        "" if each["accepted"] is None else f"{each['accepted']:.0%}",
        f"{each['perplexity']:.4g}", f"{each['divergence']:.5f}", f"{each['agreement']:.1%}",
    )  # fmt: skip
    mark = ' class="best"' if each["is_best"] else ""
    return f"<tr{mark}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _picture(points: Sequence[Mapping[str, Any]]) -> str:
    fastest = max(each["decode"] for each in points) * 1.08
    slowest = min(each["decode"] for each in points) * 0.92
    lost = [math.log10(max(each["divergence"], 1e-6)) for each in points]
    low, high = math.floor(min(lost)), math.ceil(max(lost) + 1e-9)
    largest = max(each["size_bytes"] for each in points)

    def x(decode: float) -> float:
        return float(_LEFT + (decode - slowest) / (fastest - slowest) * (_WIDTH - _LEFT - _RIGHT))

    def y(exponent: float) -> float:
        share = (high - exponent) / max(high - low, 1)
        return float(_TOP + share * (_HEIGHT - _TOP - _BOTTOM))

    base = _HEIGHT - _BOTTOM
    drawn = [
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}" '
        f'y2="{y(tick):.1f}"/><text x="{_LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">'
        f"{10.0**tick:g}</text>"
        for tick in range(low, high + 1)
    ]
    for each, exponent in zip(points, lost, strict=True):
        radius = _LARGEST * math.sqrt(each["size_bytes"] / largest)
        at, down = x(each["decode"]), y(exponent)
        mark = ' class="best"' if each["is_best"] else ""
        drawn.append(
            f'<circle{mark} cx="{at:.1f}" cy="{down:.1f}" r="{radius:.1f}"/>'
            f'<text class="name" x="{at + radius + 4:.1f}" y="{down + 4:.1f}">'
            f"{escape(each['name'])}</text>"
        )
    drawn += [
        f'<text x="{_LEFT}" y="{base + 18}">{slowest:.0f}</text>',
        f'<text x="{_WIDTH - _RIGHT}" y="{base + 18}" text-anchor="end">{fastest:.0f}</text>',
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2:.0f}" y="{base + 36}" text-anchor="middle">'
        "decode, tokens a second</text>",
    ]
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" '
        f'aria-label="Speed against divergence">{"".join(drawn)}</svg>'
    )
