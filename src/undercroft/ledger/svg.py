"""Lineage as an SVG picture that stands alone and follows the reader's light or dark theme."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from itertools import pairwise
from typing import Final

from undercroft.ledger.layout import Layout, arrange
from undercroft.records import Lineage, Node

Link = Callable[[Node], str | None]

_CHAR: Final = 7.4  # width of a character at 12 px in the widest of the monospace fonts below
_SMALL_CHAR: Final = 6.2  # the same at 10 px
_PAD: Final = 14.0
_MARGIN: Final = 16.0
_GAP: Final = 24.0  # between boxes in a row
_ROW_GAP: Final = 38.0  # between rows: room for the curves
_BOX_HEIGHT: Final = 44.0
_RUN_HEIGHT: Final = 30.0

# A page that has a theme switch of its own sets these variables on .uc-lineage.
_STYLE: Final = """
.uc-lineage{--ink:#1d2327;--soft:#66707a;--line:#aab4bd;--box:#ffffff;--run:#eef1f3;--root:#0b6e69;
font:12px ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace}
@media (prefers-color-scheme:dark){.uc-lineage{--ink:#e6eaed;--soft:#98a3ad;--line:#56616b;
--box:#1b2126;--run:#262e34;--root:#4fc4bb}}
.uc-lineage:root{background:var(--box)}
.uc-lineage text{fill:var(--ink);text-anchor:middle}
.uc-lineage .small{fill:var(--soft);font-size:10px}
.uc-lineage rect{fill:var(--box);stroke:var(--line)}
.uc-lineage .run rect{fill:var(--run)}
.uc-lineage .root rect{stroke:var(--root);stroke-width:2.5}
.uc-lineage a:hover rect,.uc-lineage a:focus rect{stroke:var(--root)}
.uc-lineage .edge{fill:none;stroke:var(--line);stroke-width:1.5}
.uc-lineage .head{fill:var(--line)}
""".replace("\n", "")


def as_svg(lineage: Lineage, link: Link | None = None) -> str:
    """The graph from top (what things were made from) to bottom (what was made of them).

    ``link`` gives the address that a node leads to, or None.
    """
    widths = {node.id: _width(node) for node in lineage.nodes}
    edges = [(edge.source, edge.target) for edge in lineage.edges]
    layout = arrange(widths, edges, _GAP)
    tops, heights, bottom = _rows(lineage, layout)
    width = max((x + widths.get(name, 0.0) / 2 for name, x in layout.x.items()), default=0.0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="uc-lineage" role="group" '
        f'width="{width + 2 * _MARGIN:.0f}" height="{bottom + _MARGIN:.0f}" '
        f'viewBox="0 0 {width + 2 * _MARGIN:.0f} {bottom + _MARGIN:.0f}">',
        f"<title>Lineage of {escape(lineage.root)}</title><style>{_STYLE}</style>",
        '<defs><marker id="uc-head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="5" '
        'markerHeight="5" orient="auto"><path class="head" d="M0 0L8 4L0 8z"/></marker></defs>',
    ]
    parts += [_curve(path, layout, tops, heights) for path in layout.paths.values()]
    for node in lineage.nodes:
        row = layout.layer[node.id]
        centre = (layout.x[node.id] + _MARGIN, tops[row] + heights[row] / 2)
        drawn = _box(node, centre, widths[node.id], is_root=node.id == lineage.root)
        address = link(node) if link else None
        parts.append(f'<a href="{escape(address)}">{drawn}</a>' if address else drawn)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _rows(lineage: Lineage, layout: Layout) -> tuple[list[float], list[float], float]:
    """The top and the height of every row, and where the last one ends."""
    heights = [_RUN_HEIGHT] * layout.num_layers
    for node in lineage.nodes:
        row = layout.layer[node.id]
        heights[row] = max(heights[row], _height(node))
    tops, edge = [], _MARGIN
    for height in heights:
        tops.append(edge)
        edge += height + _ROW_GAP
    return tops, heights, edge - _ROW_GAP if heights else edge


def _height(node: Node) -> float:
    return _RUN_HEIGHT if node.kind == "run" else _BOX_HEIGHT


def _width(node: Node) -> float:
    return max(len(node.label) * _CHAR, len(_small(node)) * _SMALL_CHAR) + 2 * _PAD


def _small(node: Node) -> str:
    """The second line of a node: when and how large, how long, or what kind it is."""
    detail = node.detail
    if node.kind == "run":
        finished = detail.get("status", "finished") == "finished"
        return f"{float(detail.get('wall_s', 0.0)):.1f} s" if finished else str(detail["status"])
    words = [str(detail["created_at"])[:16].replace("T", " ")] if "created_at" in detail else []
    if "size_bytes" in detail:
        words.append(size_words(int(detail["size_bytes"])))
    return " · ".join(words) or node.kind


def size_words(size_bytes: int) -> str:
    """``size_bytes`` in decimal units, as 1.7 MB."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _box(node: Node, centre: tuple[float, float], width: float, *, is_root: bool) -> str:
    x, y = centre
    height = _height(node)
    kind = "run" if node.kind == "run" else "artifact"
    radius = height / 2 if node.kind == "run" else 6
    facts = "\n".join(f"{key}: {value}" for key, value in node.detail.items())
    first, second = (y - 1, y + 10) if node.kind == "run" else (y - 3, y + 12)
    return (
        f'<g class="{kind}{" root" if is_root else ""}"><title>{escape(node.id)}\n{escape(facts)}'
        f'</title><rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width:.1f}" '
        f'height="{height:.0f}" rx="{radius:.0f}"/>'
        f'<text x="{x:.1f}" y="{first:.1f}">{escape(node.label)}</text>'
        f'<text class="small" x="{x:.1f}" y="{second:.1f}">{escape(_small(node))}</text></g>'
    )


def _curve(path: tuple[str, ...], layout: Layout, tops: list[float], heights: list[float]) -> str:
    """A line through ``path``: curved between rows, straight down through the rows it passes."""
    start = path[0]
    row = layout.layer[start]
    d = [f"M{layout.x[start] + _MARGIN:.1f} {tops[row] + heights[row]:.1f}"]
    for before, after in pairwise(path):
        x0, x1 = layout.x[before] + _MARGIN, layout.x[after] + _MARGIN
        from_row, to_row = layout.layer[before], layout.layer[after]
        y0, y1 = tops[from_row] + heights[from_row], tops[to_row]
        half = (y0 + y1) / 2
        d.append(f"C{x0:.1f} {half:.1f} {x1:.1f} {half:.1f} {x1:.1f} {y1:.1f}")
        if after != path[-1]:
            d.append(f"V{tops[to_row] + heights[to_row]:.1f}")
    return f'<path class="edge" marker-end="url(#uc-head)" d="{"".join(d)}"/>'
