"""Looks inside a model see what is there, and training does not notice them."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.train.small import Deep, digest, settings, start
from tests.train.test_loop import settings as tune_settings
from tests.train.test_loop import start as start_tiny
from undercroft.ledger import observed
from undercroft.ledger.observed import LOWEST, NUM_BINS, Look, Spread
from undercroft.ledger.strips import drawn, strips_of
from undercroft.records import Example
from undercroft.train import observing
from undercroft.train.models import folders, lora
from undercroft.train.parallel.team import Alone
from undercroft.train.points import Point


def looked(folder: Path, every: int, **changed: Any) -> tuple[Any, list[Point]]:
    points: list[Point] = []
    params = settings(observe_steps=every, batch_size=8)
    run = start(folder, params, **{"model": Deep(), **changed})
    run.train(lambda point, schedule: points.append(point))
    return run, points


def seen(points: list[Point]) -> list[Look]:
    return [Look.of_dict(point.observed) for point in points if point.observed]


def test_training_is_the_same_to_the_bit_whether_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observing, "MOST_TIME", 1.0)
    blind, without = looked(tmp_path / "blind", 0)
    run, points = looked(tmp_path / "seen", 1)
    assert not seen(without)
    assert [look.step for look in seen(points)] == list(range(1, 13))
    assert [(p.loss, p.grad_norm) for p in points] == [(p.loss, p.grad_norm) for p in without]
    assert digest(run.model) == digest(blind.model)


def test_a_look_is_what_the_numbers_are(tmp_path: Path) -> None:
    net = Deep()
    before = {name: each.detach().clone() for name, each in net.named_parameters()}
    params = settings(observe_steps=1, max_steps=1, max_grad_norm=1e-3)  # which clips
    points: list[Point] = []
    run = start(tmp_path, params, model=net)
    run.train(lambda point, schedule: points.append(point))
    (look,) = seen(points)
    assert list(look.blocks) == ["first", "blocks.0", "blocks.1", "last"]
    names = ["blocks.1.0.weight", "blocks.1.0.bias"]
    old = torch.cat([before[name].flatten() for name in names])
    new = torch.cat([net.get_parameter(name).detach().flatten() for name in names])
    block = look.blocks["blocks.1"]
    assert block.spreads["weights"].rms == pytest.approx(float(old.square().mean().sqrt()), 1e-4)
    moved = (new - old).square().mean().sqrt()
    assert block.update_ratio == pytest.approx(float(moved / old.square().mean().sqrt()), 1e-4)
    bins = np.floor(np.log2(np.abs(old.numpy()))).astype(int) - LOWEST
    assert list(block.spreads["weights"].counts) == np.bincount(bins, minlength=NUM_BINS).tolist()
    whole = look.whole("gradients")
    norm = math.sqrt(whole.squares)
    assert norm == pytest.approx(points[0].grad_norm, rel=1e-4)  # as it was before clipping
    assert block.activity is not None
    assert 0 < block.activity.rms < 1  # of a tanh
    assert block.activity.largest <= 1
    assert look.blocks["first"].activity is None


@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32) | st.just(0.0), max_size=60))
def test_spreads_count_all_numbers_and_add_up(values: list[float]) -> None:
    whole = observing._spread(torch.tensor(values))
    parts = [observing._spread(torch.tensor(each)) for each in (values[::2], values[1::2])]
    assert whole.total == len(values)
    assert (sum(parts, Spread()).counts, sum(parts, Spread()).zeros) == (
        list(whole.counts), whole.zeros,
    )  # fmt: skip
    again = Spread.of_list(json.loads(json.dumps(whole.as_list())))
    assert list(again.counts) == list(whole.counts)
    middle = whole.quantile(0.5)
    assert middle is None or LOWEST <= middle <= LOWEST + NUM_BINS


def test_of_large_models_a_sample_of_every_column_is_looked_at() -> None:
    for stride, width in ((128, 576), (96, 2048), (1, 7), (7, 7), (3, 1)):
        found = observing._coprime(stride, width)
        assert found >= stride
        assert {at % width for at in range(0, width * found, found)} == set(range(width))


@pytest.mark.parametrize(("precision", "rank"), [("bf16", 0), ("fp32", 4)])
def test_of_a_language_model_all_that_is_trained_is_seen_block_by_block(
    tiny: Path, examples: list[Example], tmp_path: Path, precision: str, rank: int
) -> None:
    params = tune_settings(precision=precision, lora_rank=rank, max_steps=1, observe_steps=1)
    model, _ = folders.load(tiny, precision)
    if rank:
        lora.begin(model, params)
    points: list[Point] = []
    run = start_tiny(tiny, examples, tmp_path, params, model=model)
    run.train(lambda point, schedule: points.append(point))
    (look,) = seen(points)
    blocks = ["layers.0", "layers.1"]
    assert list(look.blocks) == (blocks if rank else ["embed_tokens", *blocks, "norm"])
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    assert look.whole("weights").total == look.whole("updates").total == trained
    for name in blocks:
        assert set(look.blocks[name].spreads) == {"weights", "gradients", "updates"}
        assert look.blocks[name].activity.num > 0
    assert all(math.isfinite(value) for value in look.metrics().values())


def test_looks_take_no_more_than_their_share_of_the_time() -> None:
    observer = observing.Observer(Deep(), dict, 10, Alone())
    assert [step for step in range(1, 31) if observer.is_due(step, 100.0)] == [1, 10, 20, 30]
    observer.spent_s = 1.5
    assert not observer.is_due(10, 100.0)
    assert observer.is_due(10, 151.0)


def test_a_file_of_looks_survives_crashes_and_becomes_pictures(tmp_path: Path) -> None:
    path = observed.path_of(tmp_path, "train-1")
    assert observed.read(path) == []
    _, points = looked(tmp_path / "run", 1)
    for point in [*points[:6], *points[4:]]:  # killed after 6, gone on from 4
        observed.append(path, point.observed or {"step": point.step, "blocks": {}})
    with path.open("a") as out:
        out.write('{"step": 13, "blo')
    looks = observed.read(path)
    assert [look.step for look in looks] == [point.step for point in points]
    strips = strips_of(looks)
    assert {"Update to weight, by block", "Sizes of gradients"} <= {s.title for s in strips}
    for strip in strips:
        picture = drawn(strip)
        assert picture.count("<image ") == 2  # the strip, and the key to its colours
        assert strip.rows[0][:13] in picture


RANKS = """
import json, os, sys
from pathlib import Path
import torch
from torch import distributed
torch.set_num_threads(1)
from tests.train.small import Deep, settings, start
from undercroft.settings import ParallelSettings
from undercroft.train import observing
from undercroft.train.arranging import spread
from undercroft.train.parallel.plan import Plan
from undercroft.train.parallel.team import team
observing.MOST_TIME = 1.0
folder = Path(sys.argv[1])

def train(rank):
    distributed.init_process_group("gloo", f"file://{folder}/group", rank=rank, world_size=2)
    own, crew = Deep(), team(Plan(shard=2))
    spread(own, crew, ParallelSettings())
    points = []
    run = start(folder, settings(observe_steps=4, batch_size=8), model=own, team=crew)
    run.train(lambda point, schedule: points.append(point.observed))
    if rank == 0:
        (folder / "seen.json").write_text(json.dumps([each for each in points if each]))
    distributed.barrier()
    distributed.destroy_process_group()

child = os.fork()
train(int(child == 0))
if child == 0:
    os._exit(0)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_of_a_model_that_is_spread_the_whole_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observing, "MOST_TIME", 1.0)
    both = tmp_path / "both"
    both.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", RANKS, str(both)], env=environment, check=True)
    together = [Look.of_dict(each) for each in json.loads((both / "seen.json").read_text())]
    _, points = looked(tmp_path / "alone", 4)
    alone = seen(points)
    assert [look.step for look in together] == [look.step for look in alone] == [1, 4, 8, 12]
    for mine, theirs in zip(alone, together, strict=True):
        assert mine.blocks.keys() == theirs.blocks.keys()
        for name, block in mine.blocks.items():
            for kind, spread in block.spreads.items():
                other = theirs.blocks[name].spreads[kind]
                assert other.total == spread.total
                assert other.rms == pytest.approx(spread.rms, rel=1e-3)
            if block.activity is not None:
                assert theirs.blocks[name].activity.num == block.activity.num
                assert theirs.blocks[name].activity.rms == pytest.approx(block.activity.rms, 1e-3)
