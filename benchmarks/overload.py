"""More than an engine can do: how much of it is answered in time, through gateways and without.

    python -m benchmarks.overload [--seconds 2] [--loads 1,3] [--rounds 5] [--no-peers]

The engine answers `SLOTS` requests at once, in `SERVICE_S` each, and lets the others wait in the
order they came; one whose client hung up while it waited is dropped, as llama.cpp and vLLM do. Its
capacity is known. Requests come at random times at so many times that, whether or not others were
answered (open loop), and wait for `PATIENCE_S`. Goodput is what was answered within that. Between
two loads the engine is let go idle. The peers are the engine alone, as most queue, and the gateways
of `sides`. Ours runs with everything on, once told the engine's slots and once left to find them
out. Four to five minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
import urllib.request
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import cast

from benchmarks import agreement, sides
from benchmarks.compare import Result, in_turn, quantile, table
from benchmarks.sides import Side
from undercroft.settings import ServeSettings

SLOTS = 8
SERVICE_S = 0.05
CAPACITY = SLOTS / SERVICE_S
PATIENCE_S = 1.0
WARM_UP, WARM_UP_S = 0.3, 1.0
IDLE_S, IDLE_AT_MOST_S = 0.4, 30.0


_BODY = json.dumps(
    {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "bench",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "To the sea."},
                     "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 60, "completion_tokens": 4, "total_tokens": 64},
    }
).encode()  # fmt: skip


def reply(body: bytes) -> bytes:
    head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


ANSWER = reply(_BODY)


def content_length(head: bytes) -> int:
    """Of the body that follows ``head``; 0 where it does not say."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0


class Engine:
    """The engine: `SLOTS` at once, first come, first served."""

    def __init__(self) -> None:
        self.busy = 0
        self.waiting: deque[EngineConnection] = deque()

    def ask(self, connection: EngineConnection) -> None:
        self.waiting.append(connection)
        self._serve()

    def _serve(self) -> None:
        while self.waiting and self.busy < SLOTS:
            connection = self.waiting.popleft()
            if connection.is_there():
                self.busy += 1
                asyncio.get_running_loop().call_later(SERVICE_S, self._answer, connection)

    def _answer(self, connection: EngineConnection) -> None:
        self.busy -= 1
        connection.answer(ANSWER)
        self._serve()


class EngineConnection(asyncio.Protocol):
    """One keep-alive connection to the engine. A GET is told how many are being answered."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        start, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator or len(rest) < (length := content_length(start)):
            return
        self._received = rest[length:]
        if start.startswith(b"GET"):
            self.answer(reply(str(self._engine.busy).encode()))
        else:
            self._engine.ask(self)

    def is_there(self) -> bool:
        return not self._transport.is_closing()

    def answer(self, whole: bytes) -> None:
        if self.is_there():
            self._transport.write(whole)


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


async def offer(side: Side, load: float, seconds: float) -> Met:
    """Send requests at ``load`` times the capacity for ``seconds``."""
    patient = replace(side, headers={**side.headers, "x-stainless-read-timeout": f"{PATIENCE_S}"})
    request = patient.request()
    draw, met, asking = random.Random(5), Met(), set[asyncio.Task[None]]()
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    began = at = time.perf_counter()
    while at < began + seconds:
        at += draw.expovariate(load * CAPACITY)
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        task = asyncio.create_task(_ask(side.port, request, met, idle))
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


def wait_until_idle(engine: int) -> None:
    """Return when the engine has answered nothing for a while."""
    began = quiet = time.monotonic()
    while time.monotonic() < min(quiet + IDLE_S, began + IDLE_AT_MOST_S):
        with urllib.request.urlopen(f"http://127.0.0.1:{engine}/", timeout=30) as said:
            if int(said.read()):
                quiet = time.monotonic()
        time.sleep(SERVICE_S / 2)


@contextmanager
def engine_on(port: int, folder: Path) -> Iterator[str]:
    """The engine on core 1: its address."""
    arguments = [sys.executable, "-m", "benchmarks.overload", "--engine", str(port)]
    with sides.process(arguments, port, 1, folder / "engine.txt"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def all_of(folder: Path, peers: bool) -> Iterator[tuple[int, dict[str, Side]]]:
    """The engine's port, and the sides in front of it."""
    with ExitStack() as running:
        engine = sides.free_port()
        url = running.enter_context(engine_on(engine, folder))
        found: dict[str, Side] = {}
        settings = ServeSettings()
        for name, told in (("told", SLOTS), ("finding out", None)):
            ours = sides.ours(folder, url, told=told, slots=settings.slots, queue=settings.queue)
            found[name] = running.enter_context(ours)
        found["engine alone"] = Side("engine alone", engine)
        others = sides.in_front(running, folder, url, (), peers)
        yield engine, found | {side.name: side for side in others}


def measure(
    folder: Path, loads: Sequence[float], seconds: float, rounds: int, peers: bool
) -> dict[str, dict[str, list[Met]]]:
    """By side, and by load, what was met in each round."""
    with sides.pinned(), all_of(folder, peers) as (engine, found):

        def run(side: Side) -> dict[str, Met]:
            met = {}
            for load in loads:
                met[f"{load:g}x"] = asyncio.run(offer(side, load, seconds))
                wait_until_idle(engine)
            return met

        for side in found.values():
            agreement.wait_until_ready(side)
            asyncio.run(offer(side, WARM_UP, WARM_UP_S))
        ways = {name: partial(run, side) for name, side in found.items()}
        met = in_turn(rounds, agreement.announced(ways, rounds, warm_up=0), warm_up=0)
    return {
        name: {load: [each[load] for each in runs] for load in runs[0]}
        for name, runs in met.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each load (default 2)")
    parser.add_argument("--loads", default="1,3", help="times the capacity (default 1,3)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds to measure (default 5)")
    parser.add_argument("--no-peers", action="store_true", help="ours and the engine, only")
    parser.add_argument("--engine", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        asyncio.run(run_engine(options.engine))
        return
    with tempfile.TemporaryDirectory(prefix="undercroft-bench-") as name:
        loads = [float(load) for load in options.loads.split(",")]
        peers = not options.no_peers
        found = measure(Path(name), loads, options.seconds, options.rounds, peers)
    rows, goodput = [], dict[str, dict[str, float]]()
    for side, by_load in found.items():
        goodput[side] = {}
        for load, runs in by_load.items():
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
    most = f"{max(loads):g}x"
    kept = {
        side: round(each[most] / max(each.values()), 3) if max(each.values()) else 0.0
        for side, each in goodput.items()
    }
    others = [side for side in goodput if side not in ("told", "finding out")]
    best = max(others, key=lambda side: goodput[side][most])
    ours, peer = goodput["told"][most], goodput[best][most]
    Result(
        name="overload",
        ours=round(ours, 1),
        peer=round(peer, 1),
        ratio=round(ours / max(peer, 1.0), 2),
        unit=f"answers in time per second, at {most} the capacity, against the best peer",
        quality={
            "peer": best,
            "capacity_per_s": CAPACITY,
            "goodput": goodput,
            f"of_peak_at_{most}": kept,
            "shed_p99_ms": {row[0]: round(float(row[6]), 2) for row in rows if row[4]},
        },
    ).print()


if __name__ == "__main__":
    main()
