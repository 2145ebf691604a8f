"""A real Ray cluster of two nodes: the same rows as processes give, though a node is killed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.curate.test_duplicates import edited, essay
from undercroft.collect.stage import collect
from undercroft.curate import update
from undercroft.curate.stage import curate
from undercroft.errors import EngineFailed
from undercroft.project import Project
from undercroft.settings import ClusterSettings
from undercroft.spread import Lost, hired, spread


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False},
    )
    yield made
    made.shutdown()


def slowly(batch: list[int]) -> list[int]:
    time.sleep(0.4)
    return [2 * item for item in batch]


def failing(batch: list[int]) -> list[int]:
    if 3 in batch:
        raise ValueError("three")
    return batch


def test_a_node_that_dies_loses_nothing(cluster: Any) -> None:
    node = cluster.add_node(num_cpus=2)
    settings = ClusterSettings(engine="ray", address=cluster.address)
    batches = [[n] for n in range(24)]
    found: list[Any] = []
    with hired(settings, is_small=True) as workers:
        for result in spread(workers, slowly, batches):
            found.append(result)
            if len(found) == 3:
                threading.Thread(
                    target=cluster.remove_node, args=(node,), kwargs={"allow_graceful": False}
                ).start()
    assert found == [[2 * n] for n in range(24)]


def test_what_fails_alone_is_given_back_with_its_reason(cluster: Any) -> None:
    settings = ClusterSettings(engine="ray", address=cluster.address)
    with hired(settings, is_small=True) as workers:
        found = list(spread(workers, failing, [[1, 2, 3, 4]]))
    assert found == [[1, 2], Lost(3, "error: ValueError: three"), [4]]


def test_the_dataset_is_the_same_byte_for_byte(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "_TASK_BYTES", 4_000)
    texts = {f"d{n}": edited(essay(n % 12), n % 5, seed=n) for n in range(60)}
    lines = [json.dumps({"id": name, "text": text}) for name, text in texts.items()]
    made = {}
    for engine in ("native", "ray"):
        root = tmp_path / engine
        root.mkdir()
        (root / "docs.jsonl").write_text("\n".join(lines))
        settings = {"cluster.engine": engine, "cluster.address": cluster.address}
        opened = Project.open(root, {"collect.sources": ["docs.jsonl"], **settings})
        (raw,) = collect(opened)
        (dataset,) = curate(opened, raw=raw)
        rows = opened.lake.table("documents").read(version=dataset.meta["version"])
        made[engine] = dataset.digest, rows
    assert made["native"][0] == made["ray"][0]
    assert made["native"][1].equals(made["ray"][1])


def test_a_cluster_that_is_not_there_is_named() -> None:
    with pytest.raises(EngineFailed, match="ray start --head"):
        hired(ClusterSettings(engine="ray", address="127.0.0.1:1"), is_small=True)
