"""More than an engine can do: how much of it is answered in time, through our gateway and without.

    python -m benchmarks.overload [--seconds 6] [--rounds 2]

The engine answers `SLOTS` requests at once, in `SERVICE_S` each, and lets the others wait for as
long as they like: its capacity is known. Requests come at random times at 1, 2 and 3 times that,
whether or not others were answered (open loop), and wait for `PATIENCE_S`. Goodput is what was
answered within that. The peer is the engine alone, as most engines and proxies queue. Ours runs
with everything on, once told the engine's slots and once left to find them out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

from benchmarks.compare import Result, environment, in_turn, quantile, table
from undercroft.ledger import MadeArtifact
from undercroft.project import Project
from undercroft.records import Footprint

SLOTS = 8
SERVICE_S = 0.05
CAPACITY = SLOTS / SERVICE_S
PATIENCE_S = 1.0
LOADS = (1.0, 2.0, 3.0)
MESSAGES = [{"role": "user", "content": "Where does the river go? " * 8}]


_BODY = json.dumps(
    {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "To the sea."},
                     "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 60, "completion_tokens": 4, "total_tokens": 64},
    }
).encode()  # fmt: skip
ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_BODY)
) + _BODY


def content_length(head: bytes) -> int:
    """Of the body that follows ``head``; 0 where it does not say."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0


class Engine:
    """The engine: `SLOTS` at once, first come, first served, hung up on or not."""

    def __init__(self) -> None:
        self.busy = 0
        self.waiting: deque[EngineConnection] = deque()

    def ask(self, connection: EngineConnection) -> None:
        self.waiting.append(connection)
        self._serve()

    def _serve(self) -> None:
        while self.waiting and self.busy < SLOTS:
            self.busy += 1
            connection = self.waiting.popleft()
            asyncio.get_running_loop().call_later(SERVICE_S, self._answer, connection)

    def _answer(self, connection: EngineConnection) -> None:
        self.busy -= 1
        connection.answer()
        self._serve()


class EngineConnection(asyncio.Protocol):
    """One keep-alive connection to the engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        start, separator, rest = self._received.partition(b"\r\n\r\n")
        if separator and len(rest) >= (length := content_length(start)):
            self._received = rest[length:]
            self._engine.ask(self)

    def answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(ANSWER)


async def run_engine(port: int) -> None:
    engine = Engine()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: EngineConnection(engine), "127.0.0.1", port)
    await server.serve_forever()


@dataclass
class Met:
    """What the requests of one run met; times in seconds."""

    in_time: list[float] = field(default_factory=list)
    shed: list[float] = field(default_factory=list)
    late: int = 0
    failed: int = 0


async def offer(port: int, key: str, load: float, seconds: float) -> Met:
    """Send requests at ``load`` times the capacity for ``seconds``."""
    body = json.dumps({"model": "bench", "messages": MESSAGES, "temperature": 0.7}).encode()
    request = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\nx-stainless-read-timeout: {PATIENCE_S}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body
    draw, met, asking = random.Random(5), Met(), set[asyncio.Task[None]]()
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    began = at = time.perf_counter()
    while at < began + seconds:
        at += draw.expovariate(load * CAPACITY)
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        task = asyncio.create_task(_ask(port, request, met, idle))
        asking.add(task)
        task.add_done_callback(asking.discard)
    await asyncio.gather(*asking)
    for _, writer in idle:
        writer.close()
    return met


async def _ask(
    port: int,
    request: bytes,
    met: Met,
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]],
) -> None:
    reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
    began = time.perf_counter()
    try:
        async with asyncio.timeout(PATIENCE_S):
            writer.write(request)
            start = await reader.readuntil(b"\r\n\r\n")
            took = time.perf_counter() - began
            await reader.readexactly(content_length(start))
    except (TimeoutError, OSError, asyncio.IncompleteReadError):
        met.late += 1
        writer.close()
        return
    idle.append((reader, writer))
    if start.startswith(b"HTTP/1.1 200"):
        met.in_time.append(took)
    elif start.startswith(b"HTTP/1.1 503"):
        met.shed.append(took)
    else:
        met.failed += 1


@contextmanager
def engine_on(port: int, core: int | None) -> Iterator[None]:
    with process([sys.executable, "-m", "benchmarks.overload", "--engine", str(port)], core):
        _wait_for(port)
        yield


@contextmanager
def gateway_on(folder: Path, engine: int, slots: int | None, core: int | None) -> Iterator[Any]:
    """Our gateway in front of the engine: its port and a key."""
    port = free_port()
    folder.mkdir()
    (folder / "undercroft.toml").write_text(
        f'[project]\nname = "bench"\n\n[serve]\nport = {port}\nslots = 2\ncache_entries = 0\n'
        "daily_tokens = 0\n"
    )
    project = Project.open(folder)
    meta: dict[str, Any] = {"engine": "remote", "base_url": f"http://127.0.0.1:{engine}"}
    if slots is not None:
        meta["slots"] = slots
    for kind, value in (("model", meta), ("route", {"model": "model:bench@1"})):
        run = project.ledger.begin_run("benchmark", f"benchmark-{kind}", {}, [])
        made = MadeArtifact(kind, "bench", f"benchmark-{kind}", "none:", 0, value)
        (artifact,) = project.ledger.finish_run(run.id, [made], Footprint())
    project.ledger.set_alias(artifact.ref, "live", "benchmark")
    _, key = project.trust.keys.create("benchmark", "user")
    with process([sys.executable, "-m", "undercroft.serve", str(folder)], core):
        _wait_for(port)
        yield port, key


@contextmanager
def process(arguments: list[str], core: int | None) -> Iterator[None]:
    server = subprocess.Popen(arguments, env=environment())
    if core is not None and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(server.pid, {core})
    try:
        yield
    finally:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(15)
        server.kill()
        server.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.05)
    raise SystemExit("a server did not open its port in a minute")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measure(folder: Path, seconds: float, rounds: int) -> dict[str, dict[str, list[Met]]]:
    """By side, and by load, what was met in each round."""
    with ExitStack() as running:
        sides: dict[str, tuple[int, str]] = {}
        for name, slots in (("told", SLOTS), ("finding out", None)):
            engine = free_port()
            running.enter_context(engine_on(engine, 1))
            gateway = gateway_on(folder / f"{name[:4]}", engine, slots, 0)
            sides[name] = running.enter_context(gateway)
        alone = free_port()
        running.enter_context(engine_on(alone, 1))
        sides["engine alone"] = alone, "none"

        def run(name: str) -> dict[str, Met]:
            port, key = sides[name]
            met = {}
            for load in LOADS:
                met[f"{load:g}x"] = asyncio.run(offer(port, key, load, seconds))
                time.sleep(2 * PATIENCE_S)  # until the engine's queue is empty again
            return met

        found = in_turn(rounds, {name: partial(run, name) for name in sides})
    return {
        name: {load: [met[load] for met in runs] for load in runs[0]}
        for name, runs in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each load (default 6)")
    parser.add_argument("--rounds", type=int, default=2, help="rounds to measure (default 2)")
    parser.add_argument("--engine", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        asyncio.run(run_engine(options.engine))
        return
    with tempfile.TemporaryDirectory(prefix="undercroft-bench-") as name:
        found = measure(Path(name), options.seconds, options.rounds)
    rows, goodput = [], dict[str, dict[str, float]]()
    for side, loads in found.items():
        goodput[side] = {}
        for load, runs in loads.items():
            good = statistics.median(len(met.in_time) for met in runs) / options.seconds
            times = [each for met in runs for each in met.in_time] or [0.0]
            shed = [each for met in runs for each in met.shed]
            goodput[side][load] = good
            rows.append(
                [f"{side}, {load}", good, quantile(times, 0.5) * 1000, quantile(times, 0.99) * 1000,
                 len(shed), quantile(shed, 0.5) * 1000 if shed else 0.0,
                 quantile(shed, 0.99) * 1000 if shed else 0.0,
                 sum(met.late for met in runs), sum(met.failed for met in runs)]
            )  # fmt: skip
    heads = ["", "goodput/s", "p50 ms", "p99 ms", "shed", "shed p50 ms", "shed p99 ms", "late"]
    print(f"capacity {CAPACITY:g}/s, patience {PATIENCE_S:g} s")
    print(table([*heads, "failed"], rows) + "\n")
    kept = {
        side: round(loads["3x"] / max(loads.values()), 3) if max(loads.values()) else 0.0
        for side, loads in goodput.items()
    }
    ours, peer = goodput["told"]["3x"], goodput["engine alone"]["3x"]
    Result(
        name="overload",
        ours=round(ours, 1),
        peer=round(peer, 1),
        ratio=round(ours / max(peer, 1.0), 2),
        unit="answers in time per second, at three times the capacity",
        quality={
            "peer": "the engine's own queue",
            "capacity_per_s": CAPACITY,
            "goodput": goodput,
            "of_peak_at_3x": kept,
            "shed_p99_ms": {row[0]: round(float(row[6]), 2) for row in rows if row[4]},
        },
    ).print()


if __name__ == "__main__":
    main()
