"""Charts drawn as plain SVG in the theme's colours, so that they follow light and dark.

The lines live in a stretched SVG (strokes do not stretch), the words in HTML beside it, so that
text stays readable at every width.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from undercroft.console import figures
from undercroft.console.markup import Markup, h

Point = tuple[float, float]
Bounded = tuple[float, float, float, float]  # where, lower bound, value, upper bound
MAX_POINTS = 400


def line(title: str, points: Sequence[Point], unit: str = "", smooth: bool = False) -> Markup:
    """A line over steps; with ``smooth`` a moving average stands before the raw values."""
    shown = thin([point for point in points if math.isfinite(point[1])])
    if not shown:
        return h("div", h("p", f"No {title} yet.", class_="note"), class_="chart")
    axis = scale(min(y for _, y in shown), max(y for _, y in shown))
    drawn = [h("path", d=_path(shown, axis), class_="raw" if smooth else None)]
    if smooth:
        drawn.append(h("path", d=_path(averaged(shown), axis)))
    latest = f"{number(shown[-1][1])} {unit}".strip()
    return h(
        "figure",
        h("figcaption", h("b", title), h("span", latest), class_="chart-head"),
        _plot(title, shown, axis, drawn),
        class_="chart",
        style="margin:0",
    )


def band(
    title: str,
    points: Sequence[Bounded],
    *,
    unit: str,
    level: float,
    limit: float | None,
    word: str,
) -> Markup:
    """A value over ``word``s between bounds; a line where ``level`` is, and one at the ``limit``.

    A bound that is not known yet, or far off, goes beyond the edge: the picture is of the value.
    """
    shown = thin(points)
    axis = _around(shown, level, limit)
    low, high = axis[0], axis[-1]
    value = [(x, each) for x, _, each, _ in shown]
    upper = _path([(x, min(max(most, low), high)) for x, _, _, most in shown], axis)
    lower = _path([(x, min(max(least, low), high)) for x, least, _, _ in shown[::-1]], axis)
    ends = value[0][0], value[-1][0]
    drawn = [
        h("path", d=f"{upper}L{lower[1:]}Z", class_="within"),
        h("path", d=_path([(x, level) for x in ends], axis), class_="level"),
        h("path", d=_path([(x, limit) for x in ends], axis), class_="limit")
        if limit is not None
        else None,
        h("path", d=_path(value, axis)),
    ]
    latest = f"{number(value[-1][1])} {unit}".strip()
    return h(
        "figure",
        h("figcaption", h("b", title), h("span", latest), class_="chart-head"),
        _plot(title, value, axis, drawn, word),
        class_="chart",
        style="margin:0",
    )


def _around(points: Sequence[Bounded], level: float, limit: float | None) -> list[float]:
    """Ticks that hold all values, and the bounds as they are now."""
    _, least, _, most = points[-1]
    ends = [each for each in (least, most) if math.isfinite(each)]
    wanted = [level, *(value for _, _, value, _ in points), *ends]
    if limit is not None:
        wanted.append(limit)
    return scale(min(wanted), max(wanted))


def _plot(
    title: str,
    points: Sequence[Point],
    axis: Sequence[float],
    drawn: Sequence[Markup | None],
    word: str = "step",
) -> Markup:
    low, high = axis[0], axis[-1]

    def top(value: float) -> str:
        return f"top:{(high - value) / (high - low) * 100:.2f}%"

    svg = h(
        "svg",
        drawn,
        viewBox="0 0 1000 1000",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{title}: from {number(points[0][1])} to {number(points[-1][1])}",
    )
    ends = [points[0][0]] if len(points) == 1 else [points[0][0], points[-1][0]]
    return h(
        "div",
        [h("div", class_="grid", style=top(tick)) for tick in axis],
        [h("span", number(tick), class_="tick y", style=top(tick)) for tick in axis],
        svg,
        [
            h(
                "span",
                f"{word} {figures.count(step)}" if i else figures.count(step),
                class_="tick x" if i else "tick x first",
                style=f"left:{i * 100}%",
            )
            for i, step in enumerate(ends)
        ],
        h("div", h("b"), class_="cursor"),
        class_="plot",
        data_word=word,
        data_points=json.dumps([[step, number(value)] for step, value in points]),
    )


def thin(points: Sequence[Any], limit: int = MAX_POINTS) -> list[Any]:
    """At most about ``limit`` points, the last one always among them."""
    stride = max(1, math.ceil(len(points) / limit))
    kept = list(points[::stride])
    if kept and kept[-1] != points[-1]:
        kept.append(points[-1])
    return kept


def averaged(points: Sequence[Point], share: float = 0.06) -> list[Point]:
    """Means over windows centred on each point, so that the line does not lag; the window is
    ``share`` of all points, and shrinks towards both ends."""
    half = max(1, round(len(points) * share / 2))
    result = []
    for i, (step, _) in enumerate(points):
        reach = min(half, i, len(points) - 1 - i)
        window = [value for _, value in points[i - reach : i + reach + 1]]
        result.append((step, sum(window) / len(window)))
    return result


def scale(low: float, high: float, wanted: int = 4) -> list[float]:
    """Ticks in round steps (1, 2 or 5) from below ``low`` to above ``high``."""
    if low == high:
        low, high = low - (abs(low) or 1) * 0.5, high + (abs(high) or 1) * 0.5
    rough = (high - low) / wanted
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [index * step for index in range(first, last + 1)]


def number(value: float) -> str:
    """Short enough for an axis."""
    if value == 0:
        return "0"
    if abs(value) < 1e-3:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return figures.count(value) if abs(value) >= 1000 else f"{value:.3g}"


def _path(points: Sequence[Point], axis: Sequence[float]) -> str:
    low, high = axis[0], axis[-1]
    first = min(points[0][0], points[-1][0])  # a line may go either way
    width = abs(points[-1][0] - points[0][0]) or 1
    scaled = (((x - first) / width, (high - y) / (high - low)) for x, y in points)
    line = "M" + "L".join(f"{x * 1000:.1f} {y * 1000:.1f}" for x, y in scaled)
    return line if len(points) > 1 else f"{line}h0.1"  # so that a single point is seen as a dot


def split(parts: Sequence[tuple[str, float]], label: str) -> Markup:
    """Milliseconds of consecutive parts as one bar with its legend."""
    shown = [(name, value, f"tone-{i % 4 + 1}") for i, (name, value) in enumerate(parts)]
    bar = h(
        "div",
        [
            h("i", class_=tone, style=f"flex:{value:.3f} 0 0", title=name)
            for name, value, tone in shown
            if value > 0
        ],
        class_="split",
        role="img",
        aria_label=label,
    )
    legend = h(
        "ul",
        [
            h("li", h("i", class_=tone), f"{name} {figures.milliseconds(value)}")
            for name, value, tone in shown
        ],
        class_="legend",
    )
    return h("div", bar, legend, class_="chart")


def dumbbell(before: float, after: float, lower_is_better: bool = False) -> Markup:
    """From one score to another on a line from 0 to 1 (or to the larger, where that is more)."""
    top = max(1.0, before, after)
    a, b = (max(0.0, value) / top * 100 for value in (before, after))
    worse = after > before if lower_is_better else after < before
    return h(
        "span",
        h("i", style=f"left:{min(a, b):.1f}%;width:{abs(b - a):.1f}%"),
        h("b", class_="from", style=f"left:{a:.1f}%"),
        h("b", style=f"left:{b:.1f}%"),
        class_="dumbbell worse" if worse else "dumbbell",
        role="img",
        aria_label=f"from {before:.3f} to {after:.3f}",
    )
