"""A matrix of models and domains as an SVG picture that stands alone, light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

_CHAR: Final = 7.4  # width of a character at 12 px
_CELL_HEIGHT: Final = 34.0
_LEAST_CELL: Final = 84.0
_MARGIN: Final = 16.0
_STYLE: Final = """
.uc-matrix{--ink:#1d2327;--soft:#66707a;--paper:#ffffff;--line:#d5dbe0;--better:#0b6e69;
--worse:#b3402a;font:12px ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace}
@media (prefers-color-scheme:dark){.uc-matrix{--ink:#e6eaed;--soft:#98a3ad;--paper:#1b2126;
--line:#3a444c;--better:#4fc4bb;--worse:#e58a74}}
.uc-matrix:root{background:var(--paper)}
.uc-matrix text{fill:var(--ink)}
.uc-matrix .soft{fill:var(--soft)}
.uc-matrix .middle{text-anchor:middle}
.uc-matrix rect{stroke:var(--line)}
.uc-matrix .better{fill:var(--better)}
.uc-matrix .worse{fill:var(--worse)}
""".replace("\n", "")


def as_svg(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    shown: Sequence[Sequence[str]],
    changes: Sequence[Sequence[float]],
) -> str:
    """``shown`` in each cell, [rows][columns]; colour says how much better or worse it is.

    ``changes`` are shares of the first row's value: above 0 is better, below 0 worse, and from a
    half up the colour is full.
    """
    label = max((len(name) for name in rows), default=0) * _CHAR + _MARGIN
    cell = max(_LEAST_CELL, *((len(name) + 2) * _CHAR for name in columns))
    width = label + cell * len(columns) + 2 * _MARGIN
    height = _CELL_HEIGHT * (len(rows) + 1) + 2 * _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="uc-matrix" role="img" '
        f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
    ]
    for column, name in enumerate(columns):
        x = _MARGIN + label + cell * (column + 0.5)
        parts.append(_text(x, _MARGIN + _CELL_HEIGHT * 0.6, name, "soft middle"))
    for row, name in enumerate(rows):
        y = _MARGIN + _CELL_HEIGHT * (row + 1)
        parts.append(_text(_MARGIN, y + _CELL_HEIGHT * 0.6, name))
        for column in range(len(columns)):
            x = _MARGIN + label + cell * column
            parts.append(_box(x, y, cell, changes[row][column]))
            middle = x + cell / 2
            parts.append(_text(middle, y + _CELL_HEIGHT * 0.6, shown[row][column], "middle"))
    return "".join([*parts, "</svg>\n"])


def _box(x: float, y: float, width: float, change: float) -> str:
    kind = "better" if change > 0 else "worse"
    opacity = min(1.0, 2 * abs(change)) * 0.5
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_CELL_HEIGHT}" '
        f'class="{kind}" fill-opacity="{opacity:.3f}"/>'
    )


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{named}>{escape(words)}</text>'
