"""Ranks on a real Ray cluster of two nodes, of which one is killed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.train.launching import STEPS, watch
from undercroft.settings import ClusterSettings
from undercroft.train.launch.on_ray import RayHosts


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "num_gpus": 1, "include_dashboard": False},
    )
    yield made
    made.shutdown()


def test_a_node_that_is_killed_leaves_a_smaller_training_that_goes_on(
    cluster: Any, tmp_path: Path
) -> None:
    """Of nodes with devices each takes a rank for each of those, however many processors it has."""
    node = cluster.add_node(num_cpus=1, num_gpus=1)
    settings = ClusterSettings(engine="ray", address=cluster.address)
    hosts = RayHosts(settings, tmp_path / "ray.log", device="auto")
    assert [count for _, count in hosts.seats(3)] == [1, 1]
    killed: list[threading.Thread] = []

    def at_step(step: int, pids: list[int]) -> None:
        if step == 8 and not killed:
            kill = {"allow_graceful": False}
            killed.append(threading.Thread(target=cluster.remove_node, args=(node,), kwargs=kill))
            killed[0].start()

    try:
        seen = watch(tmp_path / "project", hosts, 2, slow_s=0.1, at_step=at_step)
    finally:
        hosts.close()
    assert [each["processes"] for each in seen.of("ranks_started")] == [2, 1]
    assert len(seen.of("ranks_started")[0]["hosts"]) == 2
    (lost,) = seen.of("rank_lost")
    assert len(lost["ranks"]) == 1
    assert "was lost" in lost["why"]
    assert seen.of("resumed")[0]["step"] >= 4
    assert list(seen.losses) == list(range(1, STEPS + 1))
