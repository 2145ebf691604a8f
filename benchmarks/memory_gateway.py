"""Whether a gateway grows: its memory over many requests, ours and LiteLLM's.

    python -m benchmarks.memory_gateway [--requests 100000] [--no-peers]

Resident memory of the gateway's process and its children after each tenth of the requests. Growth
is that from the second tenth on, when caches have filled and what is loaded late is there.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks import load, sides
from benchmarks.compare import Result, table
from benchmarks.sides import Side

STEPS = 10
CONNECTIONS = 16


def resident_mb(pid: int) -> float:
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    return sum(each.memory_info().rss for each in family) / 1e6


def growth(side: Side, requests: int) -> tuple[list[float], float]:
    """Megabytes before and after each of `STEPS` parts of the requests; answers per second."""
    found, began = [resident_mb(side.pid)], time.perf_counter()
    for _ in range(STEPS):
        done = load.at_once(side, CONNECTIONS, requests=requests // STEPS)
        assert not done.failures, f"{done.failures} requests failed"
        found.append(resident_mb(side.pid))
    return found, requests / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory_gateway")
    parser.add_argument("--requests", type=int, default=100_000, help="of ours (default 100000)")
    parser.add_argument("--peer-requests", type=int, default=5_000, help="it is slower")
    parser.add_argument("--no-peers", action="store_true", help="ours only")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="undercroft-bench-") as name,
        sides.pinned(),
        sides.direct(Path(name)) as straight,
    ):
        url = f"http://127.0.0.1:{straight.port}"
        with sides.ours(Path(name), url) as us:
            found = {"undercroft": (*growth(us, given.requests), given.requests)}
        if not given.no_peers:
            with sides.litellm(Path(name), url) as peer:
                found[peer.name] = (*growth(peer, given.peer_requests), given.peer_requests)
    per_100k = {
        side: (sizes[-1] - sizes[2]) / (requests * (STEPS - 2) / STEPS) * 100_000
        for side, (sizes, _, requests) in found.items()
    }
    rows = [
        [side, requests, sizes[0], sizes[2], sizes[-1], per_100k[side], rate]
        for side, (sizes, rate, requests) in found.items()
    ]
    heads = ["", "requests", "idle MB", "warm MB", "last MB", "MB/100k", "answers/s"]
    print(table(heads, rows) + "\n")
    ours, *others = per_100k.values()
    peer_mb = others[0] if others else 0.0
    Result(
        name="memory_gateway",
        ours=round(ours, 2),
        peer=round(peer_mb, 2),
        ratio=round(peer_mb / max(ours, 0.1), 2),
        unit="MB grown per 100,000 requests (less is better)",
        quality={side: [round(size, 1) for size in sizes] for side, (sizes, _, _) in found.items()},
    ).print()


if __name__ == "__main__":
    main()
