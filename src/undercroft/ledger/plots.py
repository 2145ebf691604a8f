"""Curves as SVG that stands alone, in colours of the page's own, for light and dark."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Final

from undercroft.ledger.compare import Curve
from undercroft.ledger.marks import Mark

WIDTH: Final = 640
_HEIGHT: Final = 260
LEFT: Final = 70
RIGHT: Final = 16
_TOP: Final = 22
_BOTTOM: Final = 42
_SMOOTHED_OVER: Final = 1 / 15  # of a run: short ones are smoothed little
_MOST_POINTS: Final = 2_000  # of a line; more than there are pixels
_FAR: Final = 4.0  # times the spread of most values: what is beyond is cut off
_NUM_COLOURS: Final = 6

STYLE: Final = """
:root{--c0:#0b6e69;--c1:#b3402a;--c2:#3d5a98;--c3:#8a6d1b;--c4:#7a3e8e;--c5:#4d7c2f}
@media (prefers-color-scheme:dark){:root{--c0:#4fc4bb;--c1:#f0836b;--c2:#8fabe8;--c3:#d9b65a;
--c4:#cc93df;--c5:#9ccc7a}}
svg{color:var(--soft)}
svg .mark{stroke:var(--c1);stroke-width:1.2;stroke-dasharray:3 3}
svg .band{fill:var(--c1);opacity:.12}
svg .band.best{fill:var(--soft)}
"""


@dataclass(frozen=True, slots=True)
class Line:
    """A curve to draw, in colour number ``colour``; ``is_dashed`` with a dot at each value."""

    curve: Curve
    colour: int
    is_dashed: bool = False


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where steps and values are in the picture."""

    first: int
    last: int
    low: float
    high: float

    def x(self, step: float) -> float:
        return LEFT + (step - self.first) / max(self.last - self.first, 1) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = (self.high - value) / (self.high - self.low)
        return _TOP + min(max(share, 0.0), 1.0) * (_HEIGHT - _TOP - _BOTTOM)


def picture(lines: Sequence[Line], title: str, unit: str = "", marks: Sequence[Mark] = ()) -> str:
    """The curves over their steps: faint as measured, strong as smoothed. Far outliers lie on the
    picture's edge."""
    values = [v for line in lines for v in line.curve.values if math.isfinite(v)]
    if not values:
        return "<p>Nothing finite was measured.</p>"
    scale = ticks(*_span(values))
    steps = [step for line in lines for step in (line.curve.steps[0], line.curve.steps[-1])]
    frame = _Frame(min(steps), max(steps), scale[0], scale[-1])
    drawn = [_axes(frame, scale, unit)]
    drawn += [_mark(frame, mark) for mark in marks if frame.first <= mark.step <= frame.last]
    drawn += [_line(frame, line) for line in lines]
    return svg(_HEIGHT, f"{title} by step", "".join(drawn))


def stacked(parts: Mapping[str, Curve], title: str, unit: str) -> str:
    """Curves of the same steps on top of one another, the first one at the bottom."""
    steps = next(iter(parts.values())).steps
    every = max(1, len(steps) // _MOST_POINTS)
    means = [
        [statistics.fmean(curve.values[at : at + every]) for at in range(0, len(steps), every)]
        for curve in parts.values()
    ]
    steps = steps[::every]
    smooth = [smoothed(values, statistics.fmean) for values in means]
    tops = [[0.0] * len(steps)]
    for values in smooth:
        tops.append([a + b for a, b in zip(tops[-1], values, strict=True)])
    scale = ticks(0.0, max(tops[-1]) or 1.0)
    frame = _Frame(steps[0], steps[-1], scale[0], scale[-1])
    areas: list[str] = []
    for number, (below, above) in enumerate(pairwise(tops)):
        there = _points(frame, steps, above)
        back = _points(frame, steps[::-1], below[::-1])
        areas.append(f'<polygon points="{there} {back}" fill="{colour(number)}" opacity=".75"/>')
    return svg(_HEIGHT, title, "".join(areas) + _axes(frame, scale, unit))


def svg(height: float, title: str, content: str) -> str:
    """A picture of `WIDTH`, that narrows with its page; its words are in the text's colour."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{WIDTH}" '
        f'style="max-width:100%;height:auto" viewBox="0 0 {WIDTH} {height:g}" fill="currentColor" '
        'font-size="11" font-family="ui-monospace,Menlo,Consolas,monospace">'
        f"<title>{escape(title)}</title>{content}</svg>"
    )


def colour(number: int) -> str:
    return f"var(--c{number % _NUM_COLOURS})"


def smoothed(
    values: Sequence[float], middle: Callable[[Sequence[float]], float] = statistics.median
) -> list[float]:
    """The ``middle`` of windows of about `_SMOOTHED_OVER` of the values, around each.

    So the line does not lag, and single steps that are far off do not bend it. Windows shrink
    towards both ends, to a third.
    """
    half = round(len(values) * _SMOOTHED_OVER / 2)
    found: list[float] = []
    for at in range(len(values)):
        reach = max(min(half, at, len(values) - 1 - at), half // 3)
        window = [each for each in values[max(0, at - reach) : at + reach + 1]
                  if math.isfinite(each)]  # fmt: skip
        found.append(middle(window) if window else math.nan)
    return found


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers (steps of 1, 2 or 5) from ``low`` or less to ``high`` or more."""
    if low == high:
        low, high = low - (abs(low) or 1) * 0.5, high + (abs(high) or 1) * 0.5
    rough = (high - low) / wanted
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
    return [at * step for at in range(math.floor(low / step), math.ceil(high / step) + 1)]


def number(value: float) -> str:
    """Short enough for an axis."""
    if value == 0:
        return "0"
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    if abs(value) >= 1e3:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 1e-3 else f"{value:.1e}".replace("e-0", "e-")


def step_ticks(first: int, last: int) -> list[int]:
    """Round steps between the first and the last, both of which are among them."""
    inner = [round(at) for at in ticks(first, last, 6)] if last > first else []
    room = (last - first) / 12
    return [first, *(at for at in inner if first + room < at < last - room), last]


def _span(values: Sequence[float]) -> tuple[float, float]:
    """From the least to the most, without what is so far out that the rest would be a line."""
    order = sorted(values)
    a, b = order[len(order) // 20], order[-1 - len(order) // 20]
    room = _FAR * (b - a)
    inner = [value for value in order if a - room <= value <= b + room] if room else order
    return inner[0], inner[-1]


def _line(frame: _Frame, line: Line) -> str:
    curve, ink = line.curve, colour(line.colour)
    if line.is_dashed:
        points = _points(frame, curve.steps, curve.values)
        dots = "".join(
            f'<circle cx="{x}" cy="{y}" r="2.5" fill="{ink}"/>'
            for x, y in (pair.split(",") for pair in points.split())
        )
        return (
            f'<polyline points="{points}" fill="none" stroke="{ink}" stroke-width="1.6" '
            f'stroke-dasharray="6 4"/>{dots}'
        )
    drawn: list[str] = []
    every = max(1, len(curve.values) // _MOST_POINTS)
    some = curve.values[::every]
    for found, opacity in ((some, 0.25), (smoothed(some), 1.0)):
        points = _points(frame, curve.steps[::every], found)
        drawn.append(
            f'<polyline points="{points}" fill="none" stroke="{ink}" stroke-width="1.6" '
            f'stroke-opacity="{opacity}" stroke-linejoin="round"/>'
        )
    return "".join(drawn)


def _points(frame: _Frame, steps: Sequence[float], values: Sequence[float]) -> str:
    pairs = zip(steps, values, strict=True)
    return " ".join(f"{frame.x(s):.1f},{frame.y(v):.1f}" for s, v in pairs if math.isfinite(v))


def _mark(frame: _Frame, mark: Mark) -> str:
    """A line at its step, with its words for whoever points at it; a band back to where it went."""
    x, bottom = frame.x(mark.step), _HEIGHT - _BOTTOM
    band = ""
    if mark.to_step is not None:
        start = frame.x(max(mark.to_step, frame.first))
        look = "band best" if mark.kind == "best_weights_taken" else "band"
        band = (
            f'<rect class="{look}" x="{start:.1f}" y="{_TOP}" width="{max(x - start, 1):.1f}" '
            f'height="{bottom - _TOP}"/>'
        )
    said = escape(f"step {mark.step:,}: {mark.words}" + (f" ({mark.why})" if mark.why else ""))
    return (
        f'<g>{band}<path class="mark" d="M{x:.1f} {_TOP}V{bottom}"/>'
        f'<path d="M{x - 4:.1f} {_TOP - 7}h8l-4 7z" fill="var(--c1)"/>'
        f'<path d="M{x:.1f} {_TOP - 8}V{bottom}" stroke="transparent" stroke-width="10"/>'
        f"<title>{said}</title></g>"
    )


def _axes(frame: _Frame, scale: Sequence[float], unit: str) -> str:
    bottom, right = _HEIGHT - _BOTTOM, WIDTH - RIGHT
    parts = [f'<path stroke="currentColor" fill="none" d="M{LEFT} {_TOP}V{bottom}H{right}"/>']
    for value in scale:
        y = frame.y(value)
        parts.append(
            f'<path stroke="currentColor" stroke-opacity=".2" d="M{LEFT} {y:.1f}H{right}"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>'
        )
    if unit:
        parts.append(f'<text x="{LEFT - 8}" y="{_TOP - 10}" text-anchor="end">{unit}</text>')
    parts.append(step_axis(bottom, {step: frame.x(step) for step in
                                    step_ticks(frame.first, frame.last)}))  # fmt: skip
    return "".join(parts)


def step_axis(bottom: float, places: Mapping[int, float]) -> str:
    """Steps under a picture that ends at ``bottom``, each at its place."""
    parts = []
    for step, x in places.items():
        anchor = "end" if x > WIDTH - RIGHT - 20 else "middle"
        parts.append(
            f'<path stroke="currentColor" fill="none" d="M{x:.1f} {bottom}v4"/>'
            f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="{anchor}">{step:,}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{bottom + 33}" text-anchor="middle">step</text>')
    return "".join(parts)
