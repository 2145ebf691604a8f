"""Whether a gateway grows: its memory over many requests, ours and LiteLLM's.

    python -m benchmarks.memory_gateway [--requests 100000] [--every 10000] [--no-peers]

Resident memory of the gateway's process and its children after every so many requests, printed as
it goes. Growth is the slope of the best line through what was found once `WARM_UP` of the requests
were through, when caches have filled and what is loaded late is there; beside it stands how far a
reading lies from that line (its standard deviation). A million requests:

    python -m benchmarks.memory_gateway --requests 1000000 --every 50000 --no-peers
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import load, sides
from benchmarks.compare import Result, table
from benchmarks.sides import Side

CONNECTIONS = 16
WARM_UP = 0.2


@dataclass(frozen=True)
class Sizes:
    """Resident megabytes before any request and after every ``every`` of them."""

    every: int
    mb: list[float]
    rate: float

    @property
    def warm(self) -> list[float]:
        return self.mb[round(WARM_UP * len(self.mb)) :]

    @property
    def per_100k(self) -> float:
        """The slope when warm, in megabytes for 100,000 requests."""
        slope = statistics.linear_regression(range(len(self.warm)), self.warm).slope
        return slope * 100_000 / self.every

    @property
    def noise_mb(self) -> float:
        """The standard deviation of readings around the line."""
        steps = range(len(self.warm))
        slope, start = statistics.linear_regression(steps, self.warm)
        return statistics.pstdev(
            [size - start - slope * step for step, size in zip(steps, self.warm, strict=True)]
        )


def resident_mb(pid: int) -> float:
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    return sum(each.memory_info().rss for each in family) / 1e6


def growth(side: Side, requests: int, every: int) -> Sizes:
    found, began = [resident_mb(side.pid)], time.perf_counter()
    for done in range(every, requests + 1, every):
        part = load.at_once(side, CONNECTIONS, requests=every)
        assert not part.failures, f"{part.failures} requests failed"
        found.append(resident_mb(side.pid))
        print(f"{side.name} {done:9,}: {found[-1]:.1f} MB, {part.rate:,.0f} answers/s", flush=True)
    return Sizes(every, found, requests / (time.perf_counter() - began))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory_gateway")
    parser.add_argument("--requests", type=int, default=100_000, help="of ours (default 100000)")
    parser.add_argument("--every", type=int, default=10_000, help="a reading (default 10000)")
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
            found = {"undercroft": growth(us, given.requests, given.every)}
        if not given.no_peers:
            with sides.litellm(Path(name), url) as peer:
                found[peer.name] = growth(peer, given.peer_requests, given.peer_requests // 10)
    rows = [
        [side, each.every * (len(each.mb) - 1), each.mb[0], each.warm[0], each.mb[-1],
         each.per_100k, each.noise_mb, each.rate]
        for side, each in found.items()
    ]  # fmt: skip
    heads = ["", "requests", "idle MB", "warm MB", "last MB", "MB/100k", "± MB", "answers/s"]
    print("\n" + table(heads, rows) + "\n")
    ours, *others = (each.per_100k for each in found.values())
    peer_mb = others[0] if others else 0.0
    Result(
        name="memory_gateway",
        ours=round(ours, 2),
        peer=round(peer_mb, 2),
        ratio=round(peer_mb / max(ours, 0.1), 2),
        unit="MB grown per 100,000 requests (less is better)",
        quality={
            side: {"every": each.every, "mb": [round(size, 1) for size in each.mb],
                   "noise_mb": round(each.noise_mb, 2)}
            for side, each in found.items()
        },
    ).print()  # fmt: skip


if __name__ == "__main__":
    main()
