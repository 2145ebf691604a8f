"""What Ray Serve adds in front of an engine, and what our actors add.

    python -m benchmarks.ray_serve [--pairs 5] [--requests 400] [--kill]

Needs ``pip install "ray[serve]"``. One node of a Ray cluster, an upstream of 0 ms on it, and two
ways to it, measured in turn: the door that a replica of ours has on its node (`pools/relay.py`; a
new connection for each request, as the gateway asks for), and a Serve deployment that passes bodies
on with aiohttp behind Serve's HTTP proxy. Latency is one client's, less what the upstream itself
takes; processor time is that of all processes of the way at 32 requests at once, without Ray's own
daemons. Serve runs as its documentation advises for throughput where the environment says so
(``RAY_SERVE_THROUGHPUT_OPTIMIZED=1``, ``RAY_SERVE_ENABLE_HA_PROXY=1``).

``--kill`` kills one of two nodes with llama.cpp engines under load and counts requests that failed:
through Serve's proxy, and through our gateway.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from benchmarks.compare import Result
from tests.serve.serving import gateway_of, keep_model, make_project, release, smollm
from undercroft.serve.pools.relay import Relay

TOKEN = "of-the-benchmark"
BODY = b'{"model": "bench", "messages": [{"role": "user", "content": "Where does it go?"}]}'
HEADERS = {"content-type": "application/json"}
AT_ONCE = 32
PATH = "/v1/chat/completions"
OF_SERVE = ("ray::ServeReplica", "ray::Proxy", "ray::HAProxy", "ray::ServeController", "haproxy")
CLIENTS = 8  # more than two engines answer at once: the node that is killed has some of them
KILL_S = 12.0  # load goes on for so long after the kill


class Door:
    """Our way: the actor of a replica, with its relay and without its engine."""

    async def open(self, target: str) -> str:
        self._relay = Relay("127.0.0.1", target, TOKEN)
        return await self._relay.start()


def passing(serve: Any) -> Any:
    """Serve's way: a deployment that passes bodies on to ``target``, or to its own engine."""
    from starlette.requests import Request
    from starlette.responses import StreamingResponse

    @serve.deployment(max_ongoing_requests=256, logging_config={"enable_access_log": False})
    class Passing:
        def __init__(self, target: str, model: str = "") -> None:
            if model:
                from undercroft.engines import start_engine

                log = Path(tempfile.mkdtemp()) / "engine.log"
                self._engine = start_engine(
                    "llamacpp", Path(model), context=2048, slots=1, threads=1, log=log
                )
                self._engine.wait_ready(120.0)
                target = self._engine.base_url
            self._target = target
            self._client: aiohttp.ClientSession | None = None

        async def __call__(self, request: Request) -> StreamingResponse:
            if self._client is None:
                self._client = aiohttp.ClientSession()
            asked = await request.body()
            reply = await self._client.post(self._target + PATH, data=asked, headers=HEADERS)
            return StreamingResponse(
                self._pieces(reply), reply.status, media_type=reply.content_type
            )

        async def _pieces(self, reply: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
            async with reply:
                async for piece in reply.content.iter_any():
                    yield piece

    return Passing


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def upstream() -> Iterator[str]:
    """An engine that answers at once."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.upstream", str(port)])
    try:
        for _ in range(200):
            with socket.socket() as found:
                if found.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def cpu_s(names: Sequence[str]) -> float:
    """Processor time so far of the Ray workers that are called so."""
    total = 0.0
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or [""]
        if words[0].rpartition("/")[2].startswith(tuple(names)):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def session(headers: Mapping[str, str]) -> aiohttp.ClientSession:
    """A client that keeps connections, unless ``headers`` say that they close."""
    connector = aiohttp.TCPConnector(limit=0, force_close="connection" in headers)
    return aiohttp.ClientSession(connector=connector)


async def delays(url: str, headers: Mapping[str, str], count: int) -> list[float]:
    """Milliseconds of ``count`` requests, one after another."""
    found = []
    async with session(headers) as client:
        for number in range(count + 20):
            began = time.perf_counter()
            async with client.post(url + PATH, data=BODY, headers=headers) as reply:
                assert reply.status == 200, await reply.text()
                await reply.read()
            if number >= 20:
                found.append((time.perf_counter() - began) * 1000)
    return found


async def many(url: str, headers: Mapping[str, str], count: int) -> None:
    """``count`` requests, `AT_ONCE` at a time."""
    left = iter(range(count))

    async def ask(client: aiohttp.ClientSession) -> None:
        for _ in left:
            async with client.post(url + PATH, data=BODY, headers=headers) as reply:
                assert reply.status == 200, await reply.text()
                await reply.read()

    async with session(headers) as client:
        await asyncio.gather(*(ask(client) for _ in range(AT_ONCE)))


Way = tuple[str, Mapping[str, str], Sequence[str]]


def measure(way: Way, direct: str, requests: int) -> dict[str, float]:
    """Milliseconds added at the median and the 99th percentile; requests per processor second."""
    url, headers, processes = way
    bare = asyncio.run(delays(direct, HEADERS, requests))
    through = asyncio.run(delays(url, headers, requests))
    before = cpu_s(processes)
    asyncio.run(many(url, headers, 4 * requests))
    p50, p99 = (
        statistics.quantiles(through, n=100)[at] - statistics.quantiles(bare, n=100)[at]
        for at in (49, 98)
    )
    return {"p50": p50, "p99": p99, "per_cpu_s": 4 * requests / (cpu_s(processes) - before)}


def compare(options: argparse.Namespace) -> None:
    import ray
    from ray import serve

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    with upstream() as direct:
        door = ray.remote(num_cpus=1)(Door).remote()
        own = ray.get(door.open.remote(direct))
        port = free_port()
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(passing(serve).bind(direct))
        headers = {**HEADERS, "authorization": f"Bearer {TOKEN}", "connection": "close"}
        ways: dict[str, Way] = {
            "actor": (own, headers, ("ray::Door",)),
            "serve": (f"http://127.0.0.1:{port}", HEADERS, OF_SERVE),
        }
        found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
        for pair in range(options.pairs):
            for name in sorted(ways, reverse=bool(pair % 2)):
                each = measure(ways[name], direct, options.requests)
                found[name].append(each)
                print(pair + 1, name, {key: round(value, 2) for key, value in each.items()})
        serve.shutdown()
    ray.shutdown()
    middle = {
        name: {key: statistics.median(each[key] for each in all_) for key in all_[0]}
        for name, all_ in found.items()
    }
    ours, peer = middle["actor"]["per_cpu_s"], middle["serve"]["per_cpu_s"]
    Result("ray-serve", ours, peer, ours / peer, "requests/s of processor time", middle).print()


def load(url: str, headers: Mapping[str, str], cluster: Any, node: Any) -> tuple[int, list[str]]:
    """`CLIENTS` ask while ``node`` is killed; how many were answered after, and what failed."""
    answered: list[float] = []
    failed: list[str] = []

    async def ask(client: aiohttp.ClientSession, until: asyncio.Event) -> None:
        while not until.is_set():
            said = [{"role": "user", "content": f"Say {time.time()}."}]
            body = json.dumps({"model": "docs", "max_tokens": 6, "messages": said})
            try:
                async with client.post(url + PATH, data=body, headers=headers) as reply:
                    text = await reply.text()
                    if reply.status == 200 and "choices" in text:
                        answered.append(time.monotonic())
                    else:
                        failed.append(f"{reply.status} {text[:80]!r}")
            except aiohttp.ClientError as error:
                failed.append(repr(error))

    async def work() -> float:
        done = asyncio.Event()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(90)) as client:
            asking = [asyncio.create_task(ask(client, done)) for _ in range(CLIENTS)]
            while len(answered) < 3 * CLIENTS:
                await asyncio.sleep(0.05)
            await asyncio.to_thread(cluster.remove_node, node, allow_graceful=False)
            killed = time.monotonic()
            await asyncio.sleep(KILL_S)
            done.set()
            await asyncio.gather(*asking)
        return killed

    killed = asyncio.run(work())
    return sum(at > killed for at in answered), failed


def kill(way: str) -> None:
    """One of two nodes, each with an engine, under load."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    second = cluster.add_node(num_cpus=2)
    if way == "serve":
        from ray import serve

        ray.init(cluster.address, log_to_driver=False)
        port = free_port()
        serve.start(http_options={"host": "127.0.0.1", "port": port}, proxy_location="HeadOnly")
        made = passing(serve).options(
            num_replicas=2, max_replicas_per_node=1, ray_actor_options={"num_cpus": 1}
        )
        serve.run(made.bind("", str(smollm())))
        answered, failed = load(f"http://127.0.0.1:{port}", HEADERS, cluster, second)
        serve.shutdown()
    else:
        with tempfile.TemporaryDirectory() as folder:
            project = make_project(
                Path(folder) / "p", cluster="ray", replicas=2, slots=1, threads=1, cache_entries=0
            )
            toml = project.root / "undercroft.toml"
            toml.write_text(toml.read_text() + f'\n[cluster]\naddress = "{cluster.address}"\n')
            release(project, keep_model(project, "docs-q4_1", smollm()))
            with gateway_of(project, 150) as served:
                answered, failed = load(served.root, served.headers(), cluster, second)
    ray.shutdown()
    cluster.shutdown()
    print(f"{way}: {answered} answered after the kill, {len(failed)} failed {failed[:3]}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--kill", choices=("serve", "actors"))
    options = parser.parse_args()
    if options.kill:
        kill(options.kill)
    else:
        compare(options)


if __name__ == "__main__":
    main()
