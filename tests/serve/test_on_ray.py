"""Replicas on a real Ray cluster of two nodes, of which one is killed under load."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.serve.serving import gateway_of, keep_model, make_project, release, smollm
from undercroft.serve.pools import node, upstream
from undercroft.serve.pools.on_ray import RayReplica
from undercroft.settings import ClusterSettings


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One node; what others keep of models lies in a folder of the test's own."""
    import ray
    from ray.cluster_utils import Cluster

    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("nodes"))
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made
    ray.shutdown()
    made.shutdown()
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


async def test_a_node_that_lacks_the_model_is_brought_it_and_lets_nobody_in_without_the_token(
    cluster: Any,
) -> None:
    replica = RayReplica(
        "llamacpp", smollm(), 256, 1, 1, ClusterSettings(address=cluster.address), is_shared=False
    )
    await replica.start()
    client = upstream.session()
    try:
        assert node.wanted(smollm()).stored.is_file()
        assert await replica.responsive(20)
        url, asked = f"{replica.url}/v1/completions", {"prompt": "A river", "max_tokens": 2}
        async with client.post(url, json=asked, headers=replica.headers) as reply:
            assert (await reply.json())["choices"][0]["text"]
        async with upstream.session() as stranger, stranger.post(url, json=asked) as reply:
            assert reply.status == 401
    finally:
        await client.close()
        await replica.stop()
    assert not replica.alive()


def test_a_node_killed_under_load_fails_no_request(cluster: Any, tmp_path: Path) -> None:
    second = cluster.add_node(num_cpus=1)
    project = make_project(
        tmp_path / "p",
        cluster="ray",
        replicas=2,
        slots=1,
        threads=1,
        cache_entries=0,
    )
    toml = project.root / "undercroft.toml"
    toml.write_text(toml.read_text() + f'\n[cluster]\naddress = "{cluster.address}"\n')
    release(project, keep_model(project, "docs-q4_1", smollm()))
    failed: list[Exception] = []
    answered: list[float] = []
    stop = threading.Event()

    def ask(served: Any) -> None:
        with served.client() as client:
            while not stop.is_set():
                try:
                    client.chat.completions.create(
                        model="docs", max_tokens=6,
                        messages=[{"role": "user", "content": f"Say {time.monotonic()}."}],
                    )  # fmt: skip
                    answered.append(time.monotonic())
                except Exception as error:
                    failed.append(error)

    with gateway_of(project, 150) as served:
        assert len(engines()) == 2, "one on each node"
        threads = [threading.Thread(target=ask, args=(served,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        until(lambda: len(answered) > 3)
        cluster.remove_node(second, allow_graceful=False)
        killed = time.monotonic()
        until(lambda: sum(at > killed + 2 for at in answered) > 2)
        stop.set()
        for thread in threads:
            thread.join()
        assert len(engines()) == 1, "no engine outlives its node"
    assert not failed
    until(lambda: not engines())


def engines() -> list[int]:
    """Processes of engines that this test's nodes run."""
    ours = str(smollm().name)
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if "undercroft.engines.llamacpp" in (words := process.info["cmdline"] or [])
        and "/test_a_node_killed_under_load" in " ".join(words)
        and ours in " ".join(words)
    ]


def until(condition: Any, timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


async def test_a_cluster_without_room_says_so(cluster: Any, monkeypatch: Any) -> None:
    from undercroft.errors import EngineFailed
    from undercroft.serve.pools import on_ray

    monkeypatch.setattr(on_ray, "PLACED_WITHIN_S", 1.0)
    replica = RayReplica("llamacpp", smollm(), 256, 1, 64, ClusterSettings(address=cluster.address))
    with pytest.raises(EngineFailed, match="no room"):
        await asyncio.wait_for(replica.start(), 60)
