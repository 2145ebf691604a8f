"""How long an engine goes on for a client that hung up: behind our gateway, behind others, alone.

    python -m benchmarks.cancellation [--rounds 5] [--no-peers]

The engine is a real llama.cpp of one slot, which says itself whether the slot is at work. A client
asks for an answer of `TOKENS`, which takes some seconds, hangs up when the engine is well into it,
and the time until the slot is idle is taken, for answers in one piece and for streams. Ours has
everything on and an engine of its own, as it runs. `GIVE_UP_S` stands for longer: the engine goes
on to the end. Three to four minutes.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from benchmarks import agreement, sides
from benchmarks.compare import Result, in_turn, table
from benchmarks.sides import Side
from tests.serve.serving import gateway_of, keep_model, make_project, release, smollm
from undercroft.engines import LlamaServer

CONTEXT = 2048
TOKENS = 320
INTO_IT_S = 0.5
GIVE_UP_S = 3.0
EVERY_S = 0.002  # a look at the slot
STORY = [{"role": "user", "content": "Tell me a very long story about the river, in ten chapters."}]


@dataclass(frozen=True)
class Asked:
    """A side, and the engine behind it."""

    side: Side
    engine: str

    def is_busy(self) -> bool:
        with urllib.request.urlopen(f"{self.engine}/slots", timeout=30) as reply:
            return any(slot["is_processing"] for slot in json.load(reply))

    def wait(self, busy: bool, patience_s: float) -> float:
        """Seconds until the engine was seen busy, or idle; at most about ``patience_s``."""
        began = time.perf_counter()
        while self.is_busy() != busy and time.perf_counter() - began < patience_s:
            time.sleep(EVERY_S)
        return time.perf_counter() - began


def measure(asked: Asked, stream: bool) -> float:
    """Milliseconds from hanging up to an idle slot."""
    request = asked.side.request(messages=STORY, max_tokens=TOKENS, temperature=1, stream=stream)
    asked.wait(busy=False, patience_s=120)
    with closing(socket.create_connection(("127.0.0.1", asked.side.port), timeout=60)) as client:
        client.sendall(request)
        asked.wait(busy=True, patience_s=30)
        time.sleep(INTO_IT_S)
        assert asked.is_busy(), f"{asked.side.name}: it had ended before anybody hung up"
    return asked.wait(busy=False, patience_s=GIVE_UP_S) * 1000


@contextmanager
def ours(folder: Path) -> Iterator[Asked]:
    """Our gateway with an engine of its own."""
    project = make_project(folder, slots=1, cache_entries=0, daily_tokens=0)
    release(project, keep_model(project, "docs-q4_1", smollm()))
    with gateway_of(project, timeout_s=120) as served:
        port = int(served.root.rpartition(":")[2])
        headers = {"authorization": f"Bearer {served.key}"}
        side = Side("undercroft", port, headers, "docs", served.process.pid)
        yield Asked(side, _engine_of(served.process.pid))


def _engine_of(gateway: int) -> str:
    """The address of the llama.cpp that the gateway has started."""
    for child in psutil.Process(gateway).children(recursive=True):
        for each in child.net_connections("tcp"):
            if each.status == psutil.CONN_LISTEN:
                return f"http://127.0.0.1:{each.laddr.port}"
    raise SystemExit("the gateway started no engine")


@contextmanager
def engine_alone() -> Iterator[LlamaServer]:
    engine = LlamaServer.start(smollm(), context=CONTEXT, slots=1, threads=0)
    try:
        engine.wait_ready()
        yield engine
    finally:
        engine.stop()


@contextmanager
def all_asked(folder: Path, peers: bool) -> Iterator[list[Asked]]:
    """Ours, llama.cpp alone, and the peers that can be had in front of that."""
    with ExitStack() as running, sides.pinned():
        mine = running.enter_context(ours(folder / "ours"))
        engine = running.enter_context(engine_alone())
        alone = Side("llama.cpp", int(engine.base_url.rpartition(":")[2]))
        others = sides.in_front(running, folder, engine.base_url, (), peers)
        for each in others:
            agreement.wait_until_ready(each)
        yield [mine, *(Asked(each, engine.base_url) for each in (alone, *others))]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cancellation")
    parser.add_argument("--rounds", type=int, default=5, help="rounds to measure (default 5)")
    parser.add_argument("--no-peers", action="store_true", help="ours and llama.cpp, only")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="undercroft-bench-") as name,
        all_asked(Path(name), not given.no_peers) as all_,
    ):
        ways = {
            f"{asked.side.name}, {kind}": partial(measure, asked, kind == "stream")
            for asked in all_
            for kind in ("whole", "stream")
        }
        found = in_turn(given.rounds, agreement.announced(ways, given.rounds))
    rows = [[side, statistics.median(each), max(each)] for side, each in found.items()]
    print(table(["ms until the slot is idle", "median", "longest"], rows) + "\n")
    worst: dict[str, float] = {}  # of a side, whole or streamed
    for name, times in found.items():
        side = name.rpartition(", ")[0]
        worst[side] = max(worst.get(side, 0.0), *times)
    us = worst.pop("undercroft")
    peer = min(worst.values())
    Result(
        name="cancellation",
        ours=round(us, 1),
        peer=round(peer, 1),
        ratio=round(peer / us, 2),
        unit="ms from hanging up to an idle slot, the longest; the best peer's (less is better)",
        quality={side: [round(each, 1) for each in times] for side, times in found.items()},
    ).print()


if __name__ == "__main__":
    main()
