"""A bad step is left out; more of them halve the rate, and then take the weights back."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.train.small import SAMPLES, Squares, samples_at, settings, start
from undercroft.errors import StageFailed
from undercroft.train.guard import Guard, deviations
from undercroft.train.reading import steps_by_sample
from undercroft.train.state.checkpoint import Store


def filled(guard: Guard, seed: int = 1) -> Guard:
    """``guard`` after a window of ordinary steps."""
    draw = random.Random(seed)
    for _ in range(guard.window):
        assert guard.judge(draw.gauss(3, 0.1), math.exp(draw.gauss(0, 0.2))) is None
    return guard


def test_deviations_are_those_of_a_normal_distribution_whatever_the_outliers() -> None:
    draw = random.Random(0)
    others = [draw.gauss(5, 2) for _ in range(4000)]
    assert deviations(5 + 2 * 6, others, 0) == pytest.approx(6, rel=0.05)
    wild = [1e9 if at % 5 == 0 else each for at, each in enumerate(others)]
    assert deviations(5 + 2 * 6, wild, 0) == pytest.approx(4.2, rel=0.1)
    assert deviations(1.02, [1.0] * 9, least=0.02) == pytest.approx(1)


def test_a_spike_is_high_in_loss_and_gradient() -> None:
    for loss, norm, cause in [
        (9.0, 30.0, "spike"), (9.0, 1.0, None), (3.0, 30.0, None), (-9.0, 30.0, None),
        (math.nan, 1.0, "not finite"), (3.0, math.inf, "not finite"),
    ]:  # fmt: skip
        assert filled(Guard(6, 32)).judge(loss, norm) == cause
    assert filled(Guard(0, 32)).judge(9.0, 30.0) is None
    assert Guard(6, 32).judge(9.0, 30.0) is None


@given(st.integers(0, 10**6))
def test_ordinary_steps_of_a_falling_loss_are_all_sound(seed: int) -> None:
    draw = random.Random(seed)
    guard = Guard(6, 64)
    for step in range(300):
        loss = 2 + 6 * math.exp(-step / 40) + draw.gauss(0, 0.2)
        assert guard.judge(loss, math.exp(draw.gauss(0, 0.5))) is None


def test_a_new_level_of_loss_soon_is_what_is_ordinary() -> None:
    """As when other data begins: it is not dropped for ever."""
    guard = filled(Guard(6, 32))
    causes = [guard.judge(9.0 + 0.1 * (at % 5), 30.0 + at % 7) for at in range(64)]
    assert causes[0] == "spike"
    assert not any(causes[17:])


def test_actions_grow_with_bad_steps_and_are_forgotten_after_a_window_of_sound_ones() -> None:
    guard = Guard(6, 16)
    actions = []
    for _ in range(3):
        guard.judge(math.nan, 1.0)
        actions.append(guard.action())
    assert actions == ["skip", "halve", "roll back"]
    guard.rolled_back(7)
    assert (guard.before, guard.is_calm) == (7, False)
    filled(guard)
    assert (guard.before, guard.is_calm) == (None, True)


Events = list[tuple[str, dict[str, Any]]]


def trained(folder: Path, factors: dict[int, float], **changed: Any) -> tuple[Any, Events]:
    events: Events = []
    run = start(
        folder, settings(max_steps=60, spike_threshold=6, checkpoint_steps=5, **changed),
        objective=Squares(factors), event=lambda kind, detail: events.append((kind, dict(detail))),
    )  # fmt: skip
    run.train(lambda point, schedule: None)
    return run, events


def test_each_action_is_an_event_that_names_the_examples(tmp_path: Path) -> None:
    bad = samples_at(33, 34, 35)
    run, events = trained(tmp_path, {bad[0]: 1e4, bad[1]: math.nan, bad[2]: 1e4})
    kinds = [kind for kind, _ in events]
    first = kinds.index("skipped_step")
    assert kinds[first : first + 5] == [
        "skipped_step", "skipped_step", "halved_rate", "skipped_step", "rolled_back",
    ]  # fmt: skip
    assert f"example-{bad[0]}" in events[first][1]["examples"]
    assert events[first][1]["cause"] == "spike"
    assert events[first + 1][1]["cause"] == "not finite"
    back = events[first + 4][1]
    assert back["to_step"] % 5 == 0
    assert back["skipped_positions"] == (3 * back["to_step"], 3 * back["step"])
    assert run.schedule.scale <= 0.5
    dropped = set(range(back["to_step"] + 1, back["step"] + 1))
    assert dropped <= set(run.tally.dropped)
    record = {"seed": 20, "samples": len(SAMPLES), **vars(run.tally)}
    assert not dropped & {step for steps in steps_by_sample(record).values() for step in steps}


def test_a_rollback_brings_back_the_weights_of_the_checkpoint(tmp_path: Path) -> None:
    taken: list[bool] = []

    def watch(kind: str, detail: Any) -> None:
        if kind != "rolled_back":
            return
        found = Store(tmp_path, "c", 2, watch).read(good_before=detail["to_step"] + 1)
        assert found is not None
        taken.extend(
            torch.equal(weight, found.tensors[f"master.{name}"])
            for name, weight in run.model.named_parameters()
        )

    bad = dict.fromkeys(samples_at(33, 34, 35), math.nan)
    run = start(
        tmp_path, settings(max_steps=36, checkpoint_steps=5), objective=Squares(bad), event=watch
    )
    run.train(lambda point, schedule: None)
    assert taken
    assert all(taken)


def test_a_run_that_goes_back_too_often_has_diverged(tmp_path: Path) -> None:
    bad = dict.fromkeys(samples_at(33, 34, 35, 38, 39), math.nan)
    with pytest.raises(StageFailed, match=r"went back 1 times.*learning_rate"):
        trained(tmp_path, bad, max_rollbacks=1)


def test_without_a_good_checkpoint_the_rate_is_halved_instead(tmp_path: Path) -> None:
    bad = dict.fromkeys(samples_at(1, 2, 3), math.nan)
    run, events = trained(tmp_path, bad)
    assert [kind for kind, _ in events][:5] == [
        "skipped_step", "skipped_step", "halved_rate", "skipped_step", "halved_rate",
    ]  # fmt: skip
    assert all(torch.isfinite(weight).all() for weight in run.model.parameters())


def test_a_guard_that_finds_nothing_changes_nothing(tmp_path: Path) -> None:
    ends = []
    for threshold in (0, 5):
        params = settings(max_steps=40, checkpoint_steps=0, spike_threshold=threshold)
        run = start(tmp_path / str(threshold), params)
        ends.append(run.train(lambda point, schedule: None).losses)
    assert ends[0] == ends[1]
