"""What was seen inside a model as strips: a row for each block, a column for each look.

A strip is a small PNG inside of an SVG, since thousands of cells as elements would make pages slow.
Its colours are those of viridis (Smith and van der Walt 2015), which read in light and dark and
grow evenly lighter.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from undercroft.ledger.observed import LOWEST, NUM_BINS, Block, Look
from undercroft.ledger.plots import RIGHT, WIDTH, number, step_axis, svg

_COLOURS: Final = (
    (68, 1, 84), (72, 40, 120), (62, 73, 137), (49, 104, 142), (38, 130, 142), (31, 158, 137),
    (53, 183, 121), (110, 206, 88), (181, 222, 43), (253, 231, 37),
)  # fmt: skip
_LEFT: Final = 96  # room for a block's name
_TOP: Final = 34
_ROW: Final = 11.0
_LEAST_HEIGHT: Final = 130.0
_MOST_HEIGHT: Final = 330.0
_LABEL_ROOM: Final = 13.0
_MOST_COLUMNS: Final = 570  # a pixel each
_KEY_WIDTH: Final = 120

Value = float | None


@dataclass(frozen=True, slots=True)
class Strip:
    """``cells`` by row and column, None where there is nothing; what the colours say, in words."""

    title: str
    says: str
    rows: Sequence[str]
    steps: Sequence[int]
    cells: Sequence[Sequence[Value]]


def strips_of(looks: Sequence[Look]) -> list[Strip]:
    """What to show of a run's looks; those in which nothing was seen are left out."""
    some = looks[:: -(-len(looks) // _MOST_COLUMNS)] if looks else []
    found = [
        _by_block(some, "Update to weight, by block", "log2 of rms(update) / rms(weight)", _ratio),
        _by_block(some, "Gradients, by block", "log2 of rms", _rms("gradients")),
        _by_block(some, "Weights, by block", "log2 of rms", _rms("weights")),
        _by_block(some, "Activations, by block", "log2 of rms", _activity),
        _by_block(some, "Largest activation, by block", "log2 of largest / rms", _peak),
        _by_block(some, "Outliers of activations, by block", "over 6 rms, of 10,000", _outliers),
        _by_block(some, "Zeros among activations, by block", "share in %", _zeros),
        *(_by_size(some, kind) for kind in ("weights", "gradients", "updates")),
    ]
    return [each for each in found if any(value for row in each.cells for value in row)]


def drawn(strip: Strip) -> str:
    """``strip`` as SVG with its axes, and the key of its colours."""
    values = [v for row in strip.cells for v in row if v is not None]
    low, high = min(values), max(values)
    high = high if high > low else low + 1
    height = min(max(len(strip.rows) * _ROW, _LEAST_HEIGHT), _MOST_HEIGHT)
    width = WIDTH - _LEFT - RIGHT
    parts = [
        f'<image x="{_LEFT}" y="{_TOP}" width="{width}" height="{height:g}" '
        'preserveAspectRatio="none" style="image-rendering:pixelated" '
        f'href="{_png(strip.cells, low, high)}"/>',
        _key(low, high, strip.says),
        _labels(strip.rows, height),
        step_axis(round(_TOP + height), _places(strip.steps)),
    ]
    return svg(_TOP + height + 42, strip.title, "".join(parts))


def _by_block(
    looks: Sequence[Look], title: str, says: str, value: Callable[[Block], Value]
) -> Strip:
    """The last block at the top, as in a drawing of a model."""
    names = list(dict.fromkeys(name for look in looks for name in look.blocks))[::-1]
    cells = [
        [value(look.blocks[name]) if name in look.blocks else None for look in looks]
        for name in names
    ]
    filled = [at for at, row in enumerate(cells) if any(each is not None for each in row)]
    return Strip(
        title,
        says,
        [names[at] for at in filled],
        [look.step for look in looks],
        [cells[at] for at in filled],
    )


def _by_size(looks: Sequence[Look], kind: str) -> Strip:
    """The distribution over the whole model: a row for each power of two."""
    wholes = [look.whole(kind) for look in looks]
    bins = [at for at in range(NUM_BINS) if any(each.counts[at] for each in wholes)]
    shown = range(bins[0], bins[-1] + 1) if bins else range(0)
    cells = [
        [100 * each.counts[at] / each.total if each.counts[at] else None for each in wholes]
        for at in reversed(shown)
    ]
    rows = [f"2^{LOWEST + at}" for at in reversed(shown)]
    steps = [look.step for look in looks]
    return Strip(f"Sizes of {kind}", "share of all, in %", rows, steps, cells)


def _rms(kind: str) -> Callable[[Block], Value]:
    return lambda block: _log2(block.spreads[kind].rms) if kind in block.spreads else None


def _ratio(block: Block) -> Value:
    return _log2(block.update_ratio)


def _activity(block: Block) -> Value:
    return _log2(block.activity.rms) if block.activity else None


def _peak(block: Block) -> Value:
    activity = block.activity
    return _log2(activity.largest / activity.rms) if activity and activity.rms else None


def _outliers(block: Block) -> Value:
    return 1e4 * block.activity.outliers / max(1, block.activity.num) if block.activity else None


def _zeros(block: Block) -> Value:
    return 100 * block.activity.zeros / max(1, block.activity.num) if block.activity else None


def _log2(value: Value) -> Value:
    return math.log2(value) if value else None


def _png(cells: Sequence[Sequence[Value]], low: float, high: float) -> str:
    """A picture of one pixel a cell, as a data address (PNG, second edition, section 5)."""
    lines = b"".join(b"\0" + b"".join(_pixel(value, low, high) for value in row) for row in cells)
    header = struct.pack(">IIBBBBB", len(cells[0]), len(cells), 8, 6, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    whole = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return "data:image/png;base64," + base64.b64encode(whole).decode()


def _pixel(value: Value, low: float, high: float) -> bytes:
    if value is None or not math.isfinite(value):
        return b"\0\0\0\0"
    at = (value - low) / (high - low) * (len(_COLOURS) - 1)
    base = min(int(at), len(_COLOURS) - 2)
    share = at - base
    pairs = zip(_COLOURS[base], _COLOURS[base + 1], strict=True)
    return bytes([*(round(a + share * (b - a)) for a, b in pairs), 255])


def _key(low: float, high: float, says: str) -> str:
    cells = [[low + (high - low) * at / 63 for at in range(64)]]
    x = WIDTH - RIGHT - _KEY_WIDTH - 44
    room = 8 + 7 * max(0, len(number(low)) - 5)
    return (
        f'<text x="{x - room}" y="17" text-anchor="end">{escape(says)}:</text>'
        f'<text x="{x + 34}" y="17" text-anchor="end">{number(low)}</text>'
        f'<image x="{x + 40}" y="8" width="{_KEY_WIDTH - 40}" height="11" '
        f'preserveAspectRatio="none" href="{_png(cells, low, high)}"/>'
        f'<text x="{x + _KEY_WIDTH + 6}" y="17">{number(high)}</text>'
    )


def _labels(rows: Sequence[str], height: float) -> str:
    """Names of as many rows as there is room for, the first and the last among them."""
    each = height / len(rows)
    every = max(1, math.ceil(_LABEL_ROOM / each))
    last = len(rows) - 1
    chosen = [*(at for at in range(0, last, every) if last - at >= every), last]
    return "".join(
        f'<text x="{_LEFT - 6}" y="{_TOP + (at + 0.5) * each + 4:.1f}" text-anchor="end">'
        f"{escape(rows[at][-13:])}</text>"
        for at in chosen
    )


def _places(steps: Sequence[int]) -> dict[int, float]:
    """Where some of the columns have their middles; they are as far apart as they are looks."""
    width = (WIDTH - _LEFT - RIGHT) / len(steps)
    every = max(1, math.ceil(60 / width))
    return {steps[at]: _LEFT + (at + 0.5) * width for at in range(0, len(steps), every)}
