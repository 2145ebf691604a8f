"""How many streams a gateway on one core keeps going at once, and how much later text comes.

    python -m benchmarks.streams [--counts 8,16,32,64,128,200,300,400] [--rounds 5] [--no-peers]

The upstream says a word every `GAP_MS`. A number of streams is kept going when each is whole and no
gap is longer than ten times that, in two of three tries. What is added to the first text and
between two texts is measured with `FEW` streams, against the upstream itself, at the same quantile.
`sides` says what each gateway does. Three to four minutes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import agreement, load, sides
from benchmarks.compare import Result, in_turn, quantile, table
from benchmarks.sides import Side

GAP_MS, CHUNKS = 20.0, 64
STALL_S = 10 * GAP_MS / 1000
FEW = 10
COUNTS = "8,16,32,64,128,200,300,400"


def few(side: Side) -> dict[str, float]:
    """Milliseconds, of `FEW` streams at once; microseconds of processor time for a word."""
    before = load.processor_seconds(side.pid)
    found = load.streams(side, FEW)
    spent = load.processor_seconds(side.pid) - before
    assert all(stream.whole for stream in found), side.name
    gaps = [gap for stream in found for gap in stream.gaps]
    first = load.firsts(found)
    return {
        "first_p50": quantile(first, 0.5) * 1000,
        "first_p99": quantile(first, 0.99) * 1000,
        "gap_p50": quantile(gaps, 0.5) * 1000,
        "gap_p99": quantile(gaps, 0.99) * 1000,
        "word_us": spent / (FEW * CHUNKS) * 1e6,
    }


def keeps_going(side: Side, count: int) -> bool:
    """Whether ``count`` streams at once are whole, without a stall."""
    found = load.streams(side, count)
    longest = max((gap for stream in found for gap in stream.gaps), default=STALL_S)
    whole = sum(stream.whole for stream in found)
    print(f"{side.name:24} {count:5} streams: {whole} whole, longest gap {longest * 1000:.0f} ms")
    return whole == count and longest <= STALL_S


def holds(side: Side, count: int) -> bool:
    """Whether it keeps them going in two of three tries."""
    tries = [keeps_going(side, count) for _ in range(2)]
    return all(tries) or (any(tries) and keeps_going(side, count))


def most(asked: Sequence[Side], counts: Sequence[int]) -> dict[str, int]:
    """By side, the largest of ``counts`` that it keeps going; each count is tried with those that
    kept the one before it going."""
    reached = {side.name: 0 for side in asked}
    for count in counts:
        asked = [side for side in asked if holds(side, count)]
        reached |= {side.name: count for side in asked}
    return reached


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams")
    parser.add_argument("--counts", default=COUNTS, help=f"rising (default {COUNTS})")
    parser.add_argument("--rounds", type=int, default=5, help="of what is added (default 5)")
    parser.add_argument("--no-peers", action="store_true", help="ours and none at all, only")
    given = parser.parse_args()
    counts = [int(count) for count in given.counts.split(",")]
    with (
        tempfile.TemporaryDirectory(prefix="undercroft-bench-") as name,
        sides.pinned(),
        sides.all_of(
            Path(name), "governed", "screened", gap_ms=GAP_MS, chunks=CHUNKS,
            peers=not given.no_peers,
        ) as all_,
    ):  # fmt: skip
        talking = agreement.agreeing(all_)
        ways = {side.name: partial(few, side) for side in talking}
        found: dict[str, list[Any]] = in_turn(given.rounds, agreement.announced(ways, given.rounds))
        reached = most(talking, counts)
    whats = ("first_p50", "first_p99", "gap_p50", "gap_p99")
    middle = {s: {w: statistics.median(r[w] for r in found[s]) for w in whats} for s in found}
    later = {s: {w: middle[s][w] - middle["direct"][w] for w in whats} for s in found}
    word_us = {s: statistics.median(r["word_us"] for r in found[s]) for s in found}
    rows = [
        [side, *(later[side][what] for what in whats), f"{word_us[side]:.0f}", reached[side]]
        for side in found
    ]
    print("\n" + table(["added, ms", *whats, "µs a word", "streams"], rows) + "\n")
    peers = [side for side in found if not side.startswith(("undercroft", "direct"))]
    us, peer = reached["undercroft screened"], max((reached[side] for side in peers), default=0)
    Result(
        name="streams",
        ours=us,
        peer=peer,
        ratio=round(us / peer, 2) if peer else 0.0,
        unit=f"streams at once without a stall, at {GAP_MS:g} ms a word",
        quality={
            "added_ms": {s: {w: round(v, 3) for w, v in each.items()} for s, each in later.items()},
            "direct_ms": {w: round(v, 3) for w, v in middle["direct"].items()},
            "word_us": {s: round(each, 1) for s, each in word_us.items()},
            "streams": reached,
        },
    ).print()


if __name__ == "__main__":
    main()
