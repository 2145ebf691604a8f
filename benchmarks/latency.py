"""What one client waits longer for because of a gateway: ours, LiteLLM's, Portkey's, SMG's.

    python -m benchmarks.latency [--rounds 7] [--requests 200] [--no-peers]

One request at a time. Each round asks the upstream itself and every gateway in turn; what is added
is the median over rounds of the difference at the same quantile. First texts are those of
`STREAMS` streams a round, one after another. `sides` says what each does; one whose answer is not
the upstream's is left out. Two to three minutes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import agreement, load, sides
from benchmarks.compare import Result, in_turn, quantile, spread, table
from benchmarks.sides import Side

STREAMS, CHUNKS = 50, 4
WHATS = ("p50", "p99", "first_p50", "first_p99")


def measure(side: Side, requests: int) -> dict[str, float]:
    """Milliseconds of one round."""
    answers = load.one_by_one(side, requests)
    first = [time for _ in range(STREAMS) for time in load.firsts(load.streams(side, 1))]
    return {
        "p50": quantile(answers, 0.5) * 1000,
        "p99": quantile(answers, 0.99) * 1000,
        "first_p50": quantile(first, 0.5) * 1000,
        "first_p99": quantile(first, 0.99) * 1000,
    }


def added(found: dict[str, list[dict[str, float]]], side: str, what: str) -> list[float]:
    """Of each round, what ``side`` took longer than the upstream itself."""
    pairs = zip(found[side], found["direct"], strict=True)
    return [ours[what] - direct[what] for ours, direct in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency")
    parser.add_argument("--rounds", type=int, default=7, help="rounds to measure (default 7)")
    parser.add_argument("--requests", type=int, default=200, help="of each side and round")
    parser.add_argument("--no-peers", action="store_true", help="ours and none at all, only")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="undercroft-bench-") as name,
        sides.pinned(),
        sides.all_of(
            Path(name), "bare", "governed", "screened", chunks=CHUNKS, peers=not given.no_peers
        ) as all_,
    ):
        ways: dict[str, Callable[[], Any]] = {
            side.name: partial(measure, side, given.requests) for side in agreement.agreeing(all_)
        }
        found = in_turn(given.rounds, agreement.announced(ways, given.rounds))
    middle = {
        side: {what: statistics.median(added(found, side, what)) for what in WHATS}
        for side in found
    }
    rows = [[side, *(middle[side][what] for what in WHATS)] for side in list(found)[1:]]
    print(table(["added, ms", "p50", "p99", "first text p50", "p99"], rows) + "\n")
    peers = [side for side in found if not side.startswith(("undercroft", "direct"))]
    us, best = "undercroft screened", min(peers, key=lambda side: middle[side]["p50"], default=None)
    Result(
        name="latency",
        ours=round(middle[us]["p50"], 4),
        peer=round(middle[best]["p50"], 4) if best else 0.0,
        ratio=round(middle[best]["p50"] / middle[us]["p50"], 2) if best else 0.0,
        unit="ms added at one client, p50, against the best peer (less is better)",
        quality={
            "rounds": given.rounds,
            "added_ms": {
                s: {w: round(v, 4) for w, v in each.items()} for s, each in middle.items()
            },
            "direct_ms": {
                w: round(statistics.median(r[w] for r in found["direct"]), 4) for w in WHATS
            },
            "spread": {s: round(spread([r["p50"] for r in found[s]]), 3) for s in found},
        },
    ).print()


if __name__ == "__main__":
    main()
