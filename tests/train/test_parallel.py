"""Several processes train as one: same samples, same losses, same decisions, same weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

RANKS = """
import hashlib, json, math, os, sys
from pathlib import Path
import torch
from torch import distributed
torch.set_num_threads(1)
from tests.train.small import Deep, Squares, digest, model, samples_at, settings, start
from undercroft.errors import Cancelled
from undercroft.train.parallel.team import team
from undercroft.train.arranging import spread as lay
from undercroft.train.parallel.plan import Plan
from undercroft.settings import ParallelSettings

ROOT = Path(sys.argv[1])
START = dict(max_steps=24, spike_threshold=0, checkpoint_steps=4)

def together(
    name, size, resumes="", lively=False, stop=0, factors=None, batch_size=6, deep=False,
    spread=False,
):
    "Train in ``size`` processes; each writes down what it saw."
    group = ROOT / f"group-{name}"
    folder = ROOT / (resumes or name)
    children = []
    for rank in range(size):
        child = os.fork()
        if child:
            children.append(child)
            continue
        if size > 1:
            distributed.init_process_group("gloo", f"file://{group}", rank=rank, world_size=size)
        points, events = [], []
        def report(point, schedule):
            points.append((point.loss, point.grad_norm))
            if point.step == stop:
                run._writer.finish()
                os._exit(9)  # and the others find that it is gone
        crew = team(Plan(shard=size) if spread else None)
        own = Deep() if deep else model(lively)
        with torch.no_grad():
            next(own.parameters()).add_(rank)  # the first one's weights are what all begin with
        if spread:
            lay(own, crew, ParallelSettings())
        run = start(
            folder, settings(**START, batch_size=batch_size), model=own, team=crew,
            objective=Squares(factors), event=lambda kind, detail: events.append((kind, detail)),
        )
        try:
            run.train(report)
        except RuntimeError:
            os._exit(1)
        seen = int(run._objective.seen.sum())
        state = run._store.read().tensors
        weights = hashlib.sha256(b"".join(state[n].numpy().tobytes() for n in sorted(state)))
        if not spread:
            weights.update(digest(own).encode())
        held = sum(each.master.numel() for each in run._optimizer._all)
        found = dict(points=points, events=events, weights=weights.hexdigest(), seen=seen,
                     held=held, tally=vars(run.tally), tokens=run.tally.tokens)
        (ROOT / f"{name}-{rank}.json").write_text(json.dumps(found, default=str))
        if size > 1:
            distributed.destroy_process_group()
        os._exit(0)
    for child in children:
        assert bool(os.waitpid(child, 0)[1]) == bool(stop)

start(ROOT / "warm")
together("one", 1)
together("two", 2)
together("uneven", 3, batch_size=8)
together("uneven-one", 1, batch_size=8)
together("alive", 2, lively=True)
bad = dict.fromkeys(samples_at(9, 10, 11), math.nan)
together("bad", 2, factors=bad)
together("bad-one", 1, factors=bad)
together("halfway", 2, lively=True, stop=11)
together("resumed", 2, resumes="halfway", lively=True)
together("part", 2, stop=11)
together("fewer", 1, resumes="part")
together("deep", 1, deep=True, batch_size=8)
together("spread", 3, deep=True, batch_size=8, spread=True)
together("spread-part", 3, deep=True, batch_size=8, spread=True, stop=11)
together("spread-fewer", 2, resumes="spread-part", deep=True, batch_size=8, spread=True)
"""


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What each rank of each run wrote down."""
    folder = tmp_path_factory.mktemp("ranks")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(["src", "."]), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", RANKS, str(folder)], env=environ, check=True, timeout=300)
    return lambda name, rank=0: json.loads((folder / f"{name}-{rank}.json").read_text())


def numbers(found: dict[str, Any]) -> list[float]:
    return [value for point in found["points"] for value in point]


@pytest.mark.parametrize(
    ("many", "one"), [("two", "one"), ("uneven", "uneven-one"), ("spread", "deep")]
)
def test_losses_and_gradients_are_those_of_one_process(ranks: Any, many: str, one: str) -> None:
    assert numbers(ranks(many)) == pytest.approx(numbers(ranks(one)), rel=1e-5)
    for key in ("positions", "tokens", "examples", "targets"):
        assert ranks(many)["tally"][key] == ranks(one)["tally"][key]


def test_all_ranks_hold_the_same_weights_and_each_read_its_share(ranks: Any) -> None:
    found = [ranks("uneven", rank) for rank in range(3)]
    assert len({each["weights"] for each in found}) == 1
    assert sum(each["seen"] for each in found) == ranks("uneven-one")["seen"] == 4 * 48
    assert [each["seen"] for each in found] == [2 * 48, 48, 48]
    assert [bool(each["points"]) for each in found] == [True, False, False]


def test_all_ranks_decide_the_same_on_what_one_of_them_saw(ranks: Any) -> None:
    found, alone = ranks("bad"), ranks("bad-one")
    assert [kind for kind, _ in found["events"]] == [kind for kind, _ in alone["events"]]
    assert "rolled_back" in [kind for kind, _ in found["events"]]
    assert ranks("bad", 0)["weights"] == ranks("bad", 1)["weights"]
    assert found["tally"]["dropped"] == alone["tally"]["dropped"]
    assert found["events"][0][1]["examples"] == alone["events"][0][1]["examples"]


def test_they_go_on_bit_by_bit_each_with_its_random_state(ranks: Any) -> None:
    assert ranks("resumed")["events"] == [["resumed", {"step": 8}]]
    assert ranks("resumed")["points"] == ranks("alive")["points"][8:]
    assert ranks("resumed", 1)["weights"] == ranks("alive", 1)["weights"]


def test_fewer_of_them_go_on_with_the_same_samples(ranks: Any) -> None:
    assert numbers(ranks("fewer")) == pytest.approx(numbers(ranks("one"))[2 * 8 :], rel=1e-5)


def test_spread_weights_are_held_once_and_go_on_in_fewer_processes(ranks: Any) -> None:
    whole = ranks("deep")["held"]
    held = [ranks("spread", rank)["held"] for rank in range(3)]
    assert sum(held) == whole + 2 * (15 + 1)  # the biases that are no block's are held by all
    assert len({ranks("spread", rank)["weights"] for rank in range(3)}) == 1
    assert ranks("spread-fewer")["events"] == [["resumed", {"step": 8}]]
    again = numbers(ranks("spread-fewer"))
    assert again == pytest.approx(numbers(ranks("deep"))[2 * 8 :], rel=1e-5)
