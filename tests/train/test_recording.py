"""Few commits and no holes; what a step costs; what a run says of itself afterwards."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import event
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from tests.train.small import settings, start
from undercroft.ledger import observed
from undercroft.ledger.compare import points_of
from undercroft.project import Project
from undercroft.settings import MeterSettings
from undercroft.stage import StageRun
from undercroft.train.card import course
from undercroft.train.gauges import Gauges, Work, peak_flops, work_of
from undercroft.train.models.quantised import FourBitLinear
from undercroft.train.points import Point, Tally
from undercroft.train.recording import Recorder, facts_of
from undercroft.train.tracking import Untracked


class Killed(Exception):
    """Nothing is done after it."""


@pytest.fixture
def run(tmp_path: Path) -> StageRun:
    project = Project.open(tmp_path)
    opened = project.ledger.begin_run("train", "work", {}, [])
    return StageRun(project, opened.id, tmp_path)


def steps(run: StageRun) -> list[int]:
    found = points_of(run.project.ledger.events(run.id))
    return [int(point["step"]) for _, point in found]


@pytest.mark.parametrize("killed_at", [3, 8, 29])
def test_a_run_that_was_killed_has_every_step_once(
    run: StageRun, tmp_path: Path, killed_at: int
) -> None:
    params = settings(max_steps=40, checkpoint_steps=4)
    recorder = Recorder(run, Untracked())

    def until_killed(point: Point, schedule: Any) -> None:
        recorder(point, schedule)
        if point.step == killed_at:
            raise Killed

    with pytest.raises(Killed):  # and what was not committed is gone
        start(tmp_path / "c", params).train(until_killed, before_save=recorder.commit)
    kept = steps(run)
    assert kept == list(range(1, len(kept) + 1))
    assert len(kept) >= killed_at // 4 * 4 - 4
    again = Recorder(run, Untracked())
    resumed = start(tmp_path / "c", params, event=lambda kind, detail: run.event(kind, **detail))
    assert resumed.schedule.step <= len(kept)  # else there would be a hole
    resumed.train(again, before_save=again.commit)
    again.commit()
    assert steps(run) == list(range(1, 41))


def test_fast_steps_are_committed_about_twice_a_second(run: StageRun, tmp_path: Path) -> None:
    commits: list[float] = []
    event.listen(run.project.ledger.engine, "commit", lambda _: commits.append(time.monotonic()))
    recorder = Recorder(run, Untracked())
    started = time.monotonic()
    start(tmp_path / "c", settings(max_steps=300, checkpoint_steps=0)).train(recorder)
    recorder.commit()
    most = 2 * (2 + (time.monotonic() - started) / 0.5)  # points, and how far it is
    assert len(commits) <= most < 150
    assert steps(run) == list(range(1, 301))


def test_points_tell_costs_and_looks_are_kept_beside_the_run(run: StageRun, tmp_path: Path) -> None:
    recorder = Recorder(run, Untracked())
    start(tmp_path / "c", settings(max_steps=3)).train(recorder)
    recorder.commit()
    _, point = points_of(run.project.ledger.events(run.id))[-1]
    assert {"draw_s", "passes_s", "update_s", "checkpoint_s"} <= set(point)
    assert (point["tokens"], point["examples"]) == (18, 18)
    looks = observed.read(observed.path_of(run.project.state, run.id))
    assert [look.step for look in looks] == [1]


def test_work_is_six_flops_a_weight_and_token_and_less_for_what_is_frozen() -> None:
    shape = {
        "vocab_size": 100, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2,
    }  # fmt: skip
    model = LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=True))
    block = 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 64
    assert work_of(model) == Work(6 * 3 * block, 6 * 100 * 32, 12 * 3 * 32)
    untied = LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=False))
    assert work_of(untied) == work_of(model)  # embeddings that are looked up do not multiply
    model.requires_grad_(False)
    assert work_of(model).per_token == 4 * 3 * block
    assert Work(10, 3, 2).flops(tokens=40, targets=8, examples=4) == 40 * (10 + 2 * 10) + 8 * 3
    assert work_of(nn.Linear(5, 7)) == Work(6 * 35, 0, 0)


def test_weights_in_four_bits_work_as_much_as_others() -> None:
    pytest.importorskip("bitsandbytes")
    layer = nn.Linear(64, 128, bias=False)
    assert work_of(FourBitLinear(layer.weight, None)) == Work(4 * 64 * 128, 0, 0)


def test_gauges_read_memory_energy_and_utilisation(tmp_path: Path) -> None:
    peak = peak_flops(tmp_path, nn.Linear(2, 2))
    assert 1e9 < peak <= peak_flops(tmp_path, nn.Linear(3, 3)) < 1e15  # the most ever measured
    assert peak_flops(tmp_path, nn.Linear(2, 2, dtype=torch.bfloat16)) > 0
    meter = MeterSettings(watts_idle=10, watts_per_core=0)
    gauges = Gauges(Work(100, 0, 0), 2e6, meter, Tally(tokens=50), ranks=2)
    time.sleep(0.1)
    found = gauges.read(Point(1, 1.0, 1.0, 0.1, tokens_per_s=1000, tokens=150, examples=3))
    assert found["mfu"] == pytest.approx(1000 * 100 / 4e6)
    assert 30 < found["memory_mb"] < 1e5
    if not gauges._counter.readable:
        assert 0.9 < found["energy_j"] < 30


def test_a_card_tells_what_was_held_out_and_what_went_wrong() -> None:
    assert course({"skipped_steps": 0, "halvings": 0, "rollbacks": 0}) == ""
    bad = course({"skipped_steps": 3, "halvings": 1, "rollbacks": 0, "restarts": 2})
    assert bad == (
        "| what went wrong | steps left out: 3, learning rate halved: 1, started again: 2 |\n"
    )
    best = course({"heldout_loss": 2.5, "best_step": 1250, "stopped_early": True})
    assert "2.500, with the weights of step 1,250, where it had stopped" in best


def test_facts_tell_what_the_guard_did_and_what_was_best(tmp_path: Path) -> None:
    run = start(tmp_path)
    tally = Tally(losses=[3.0, 2.0], skipped=4, halvings=1, rollbacks=1)
    facts = facts_of(tally, run.schedule, 1.0)
    assert (facts["skipped_steps"], facts["halvings"], facts["rollbacks"]) == (4, 1, 1)
    assert "best_step" not in facts
    tally.best_step, tally.heldout_loss, tally.stopped_early = 8, 1.5, 12
    facts = facts_of(tally, run.schedule, 1.0)
    assert (facts["best_step"], facts["heldout_loss"], facts["stopped_early"]) == (8, 1.5, True)
