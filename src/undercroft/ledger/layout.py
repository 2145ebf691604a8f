"""Where the boxes and lines of a layered graph go: top to bottom, without overlaps.

The method of Sugiyama, Tagawa and Toda (1981): every node gets a layer below all it comes from;
lines that cross layers are cut into pieces by invisible nodes, which keep a lane free for them;
nodes are ordered within layers so that few lines cross (barycentre sweeps); and then placed as
near to their neighbours as their order and width allow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

LANE_WIDTH: Final = 10.0  # what a line needs where it passes between boxes
SWEEPS: Final = 8

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Layout:
    """The middle of every node, the layer it is in, and the nodes and bends each edge visits.

    ``x`` and ``layer`` also hold the bends, whose names are tuples' text and mean nothing outside.
    """

    x: Mapping[str, float]
    layer: Mapping[str, int]
    paths: Mapping[Pair, tuple[str, ...]]
    num_layers: int


def arrange(widths: Mapping[str, float], edges: Sequence[Pair], gap: float) -> Layout:
    """Lay out the graph of ``edges`` over the nodes of ``widths``, at least ``gap`` apart.

    An edge that would close a cycle is drawn but does not count for the layers.
    """
    layer = _layers(list(widths), edges)
    paths, sizes = _cut(edges, layer, widths)
    pieces = [pair for path in paths.values() for pair in pairwise(path)]
    rows: list[list[str]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for name in sizes:
        rows[layer[name]].append(name)
    above = _neighbours(sizes, [(target, source) for source, target in pieces])
    below = _neighbours(sizes, pieces)
    rows = _order(rows, above, below)
    x = _place(rows, above, below, sizes, gap)
    return Layout(x, layer, paths, len(rows))


def _layers(names: Sequence[str], edges: Sequence[Pair]) -> dict[str, int]:
    """Each node as far down as the longest way to it, then sources pulled down to their users."""
    waiting = dict.fromkeys(names, 0)
    after: dict[str, list[str]] = {name: [] for name in names}
    for source, target in edges:
        waiting[target] += 1
        after[source].append(target)
    layer = dict.fromkeys(names, 0)
    ready = [name for name in names if not waiting[name]]
    order: list[str] = []
    left = dict(waiting)
    while len(order) < len(names):
        if not ready:  # a cycle: break it at the first node that is left
            ready = [next(name for name in names if left[name] > 0)]
            left[ready[0]] = 0
        name = ready.pop(0)
        order.append(name)
        for target in after[name]:
            if left[target] > 0:
                layer[target] = max(layer[target], layer[name] + 1)
                left[target] -= 1
                if not left[target]:
                    ready.append(target)
    for name in reversed(order):
        users = [layer[target] for target in after[name] if layer[target] > layer[name]]
        if users and not waiting[name]:
            layer[name] = min(users) - 1
    return layer


def _cut(
    edges: Sequence[Pair], layer: dict[str, int], widths: Mapping[str, float]
) -> tuple[dict[Pair, tuple[str, ...]], dict[str, float]]:
    """The way of each edge through a bend in every layer it passes; adds the bends to ``layer``."""
    sizes = dict(widths)
    paths: dict[Pair, tuple[str, ...]] = {}
    for source, target in edges:
        bends = []
        for between in range(layer[source] + 1, layer[target]):
            bend = f"\0{source}\0{target}\0{between}"
            layer[bend], sizes[bend] = between, LANE_WIDTH
            bends.append(bend)
        paths[source, target] = (source, *bends, target)
    return paths, sizes


def _neighbours(names: Mapping[str, float], pairs: Sequence[Pair]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [] for name in names}
    for source, target in pairs:
        found[source].append(target)
    return found


def _order(
    rows: list[list[str]], above: Mapping[str, list[str]], below: Mapping[str, list[str]]
) -> list[list[str]]:
    """The order within rows with the fewest crossings among those that the sweeps try."""
    best, fewest = [list(row) for row in rows], _crossings(rows, below)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        downwards = sweep % 2 == 0
        indices = range(1, len(rows)) if downwards else range(len(rows) - 2, -1, -1)
        for index in indices:
            fixed = rows[index - 1 if downwards else index + 1]
            _sort_by_barycentre(rows[index], fixed, above if downwards else below)
        crossings = _crossings(rows, below)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return best


def _sort_by_barycentre(
    row: list[str], fixed: Sequence[str], neighbours: Mapping[str, list[str]]
) -> None:
    position = {name: index for index, name in enumerate(fixed)}
    own = {name: float(index) for index, name in enumerate(row)}

    def barycentre(name: str) -> float:
        near = [position[other] for other in neighbours[name] if other in position]
        return sum(near) / len(near) if near else own[name]

    row.sort(key=barycentre)


def _crossings(rows: Sequence[Sequence[str]], below: Mapping[str, list[str]]) -> int:
    """How many pairs of lines cross: inversions, counted with a Fenwick tree per pair of rows."""
    total = 0
    for upper, lower in pairwise(rows):
        position = {name: index for index, name in enumerate(lower)}
        tree = [0] * (len(lower) + 1)
        drawn = 0
        for name in upper:
            ends = [position[target] for target in below[name] if target in position]
            for end in ends:
                total += drawn - _count_up_to(tree, end + 1)
            for end in ends:
                drawn += 1
                index = end + 1
                while index < len(tree):
                    tree[index] += 1
                    index += index & -index
    return total


def _count_up_to(tree: Sequence[int], index: int) -> int:
    count = 0
    while index > 0:
        count += tree[index]
        index -= index & -index
    return count


def _place(
    rows: Sequence[Sequence[str]],
    above: Mapping[str, list[str]],
    below: Mapping[str, list[str]],
    sizes: Mapping[str, float],
    gap: float,
) -> dict[str, float]:
    """The middle of every node on the x axis, from 0 at the left edge of the leftmost."""
    x: dict[str, float] = {}
    for row in rows:
        edge = 0.0
        for name in row:
            x[name] = edge + sizes[name] / 2
            edge += sizes[name] + gap
    for sweep in range(SWEEPS):
        downwards = sweep % 2 == 0
        near = above if downwards else below
        for row in rows if downwards else reversed(rows):
            wanted = [
                sum(x[other] for other in near[name]) / len(near[name]) if near[name] else x[name]
                for name in row
            ]
            x.update(zip(row, _spread(wanted, [sizes[name] for name in row], gap), strict=True))
    left = min((x[name] - sizes[name] / 2 for name in x), default=0.0)
    return {name: middle - left for name, middle in x.items()}


def _spread(wanted: Sequence[float], sizes: Sequence[float], gap: float) -> list[float]:
    """The middles nearest to ``wanted`` (least squares) that keep the order and do not overlap.

    With the room that boxes to the left need taken off, "in order, apart" is "never decreasing":
    isotonic regression, solved by pooling adjacent violators.
    """
    room, offsets = 0.0, []
    for index, size in enumerate(sizes):
        room += (sizes[index - 1] + size) / 2 + gap if index else 0.0
        offsets.append(room)
    pools: list[tuple[float, int]] = []  # mean, how many
    for target, offset in zip(wanted, offsets, strict=True):
        mean, count = target - offset, 1
        while pools and pools[-1][0] > mean:
            other, others = pools.pop()
            mean = (mean * count + other * others) / (count + others)
            count += others
        pools.append((mean, count))
    means = [mean for mean, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]
