from __future__ import annotations

import hashlib
import math
import random
import time
from pathlib import Path

import pytest
import torch

from undercroft.errors import BadInput, Cancelled, StageFailed
from undercroft.records import Example
from undercroft.settings import TrainSettings
from undercroft.train.loop import Point, Run
from undercroft.train.models import folders
from undercroft.train.objectives.objective import Batch, Terms
from undercroft.train.objectives.sft import SupervisedFineTuning
from undercroft.train.samples.data import packs
from undercroft.train.schedule import MIN_STEPS, Schedule


def settings(**changed: object) -> TrainSettings:
    values = {
        "max_steps": 8, "batch_size": 3, "micro_batch_size": 2, "learning_rate": 1e-2,
        "max_tokens": 4096, "checkpoint_steps": 1,
    }  # fmt: skip
    return TrainSettings(**{**values, **changed})


def start(
    tiny: Path, examples: list[Example], folder: Path, params: TrainSettings, **changed: object
) -> Run:
    model, tokenizer = folders.load(tiny, params.precision)
    model = changed.pop("model", model)
    goal = changed.pop("objective", SupervisedFineTuning(tokenizer, "tools", params.max_tokens))
    return Run(
        model, goal, packs(examples, params.micro_batch_size), params,
        folder=folder, config_digest="c", **{"event": lambda kind, detail: None, **changed},
    )  # fmt: skip


def digest(model: torch.nn.Module) -> str:
    whole = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        whole.update(name.encode() + weight.float().numpy().tobytes())
    return whole.hexdigest()


def ignore(point: Point, schedule: Schedule) -> None:
    pass


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_learns(
    tiny: Path, examples: list[Example], tmp_path: Path, precision: str
) -> None:
    points: list[Point] = []
    run = start(tiny, examples, tmp_path, settings(max_steps=25, precision=precision))
    run.train(lambda point, schedule: points.append(point))
    assert points[-1].loss < 0.7 * points[0].loss
    assert [point.step for point in points] == list(range(1, 26))
    assert all(math.isfinite(point.grad_norm) and point.tokens_per_s > 0 for point in points)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_stopped_run_resumes_with_the_same_weights(
    tiny: Path, examples: list[Example], tmp_path: Path, precision: str
) -> None:
    params = settings(precision=precision)
    straight = start(tiny, examples, tmp_path / "straight", params)
    straight.train(ignore)
    stop_after = random.Random(precision).randrange(1, params.max_steps)

    def stop(point: Point, schedule: Schedule) -> None:
        if point.step > stop_after:
            raise Cancelled("stop")

    events: list[str] = []
    folder = tmp_path / "stopped"
    with pytest.raises(Cancelled):
        start(tiny, examples, folder, params).train(stop)
    resumed = start(tiny, examples, folder, params, event=lambda kind, detail: events.append(kind))
    resumed.train(ignore)
    assert events == ["resumed"]
    assert digest(resumed.model) == digest(straight.model)
    assert resumed.tally.losses == straight.tally.losses
    assert resumed.tally.tokens == straight.tally.tokens


def test_a_half_written_checkpoint_is_never_read(
    tiny: Path, examples: list[Example], tmp_path: Path
) -> None:
    run = start(tiny, examples, tmp_path, settings(max_steps=2))
    run.train(ignore)
    broken = tmp_path / "making-checkpoint-9"
    broken.mkdir()
    (broken / "tensors.safetensors").write_bytes(b"half")
    (tmp_path / "checkpoint-7").mkdir()
    assert start(tiny, examples, tmp_path, settings(max_steps=2)).schedule.step == 2
    assert [path.name for path in tmp_path.glob("checkpoint-2/state.json")]
    assert not broken.exists()


def test_a_checkpoint_of_another_configuration_is_not_gone_on_from(
    tiny: Path, examples: list[Example], tmp_path: Path
) -> None:
    start(tiny, examples, tmp_path, settings(max_steps=2)).train(ignore)
    model, tokenizer = folders.load(tiny, "fp32")
    goal = SupervisedFineTuning(tokenizer, "tools", 4096)
    other = Run(
        model, goal, packs(examples, 2), settings(max_steps=2),
        folder=tmp_path, config_digest="other", event=lambda kind, detail: None,
    )  # fmt: skip
    assert other.schedule.step == 0


class Exploding:
    """An objective whose loss is not finite where it is told so."""

    def __init__(self, inner: SupervisedFineTuning, bad: set[int]) -> None:
        self.inner, self.bad, self.calls = inner, bad, 0

    def collate(self, examples: list[Example]) -> Batch | None:
        return self.inner.collate(examples)

    def terms(self, model: torch.nn.Module, batch: Batch) -> Terms:
        self.calls += 1
        terms = self.inner.terms(model, batch)
        factor = float("nan") if self.calls in self.bad else 1.0
        return Terms(terms.loss_sum * factor, terms.count, terms.metrics)


def test_a_step_that_is_not_finite_is_dropped_and_recorded(
    tiny: Path, examples: list[Example], tmp_path: Path
) -> None:
    _, tokenizer = folders.load(tiny, "fp32")
    goal = Exploding(SupervisedFineTuning(tokenizer, "tools", 4096), {3})
    events: list[dict[str, object]] = []
    run = start(
        tiny, examples, tmp_path, settings(), objective=goal,
        event=lambda kind, detail: events.append({"kind": kind, **detail}),
    )  # fmt: skip
    tally = run.train(ignore)
    assert tally.skipped == 1
    assert len(tally.losses) == 7
    assert events[0]["kind"] == "skipped_step"
    assert events[0]["examples"]
    assert events[0]["documents"] == list(
        dict.fromkeys(f"d{str(name).split('-')[0]}" for name in events[0]["examples"])
    )
    assert all(torch.isfinite(weight).all() for weight in run.model.parameters())


def test_a_run_that_diverged_says_what_to_change(
    tiny: Path, examples: list[Example], tmp_path: Path
) -> None:
    _, tokenizer = folders.load(tiny, "fp32")
    goal = Exploding(SupervisedFineTuning(tokenizer, "tools", 4096), set(range(100)))
    with pytest.raises(StageFailed, match="learning_rate"):
        start(tiny, examples, tmp_path, settings(), objective=goal).train(ignore)


def test_examples_that_are_all_too_long_say_what_to_change(
    tiny: Path, examples: list[Example], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=r"train\.max_tokens"):
        start(tiny, examples, tmp_path, settings(max_tokens=64)).train(ignore)


def test_training_ends_with_its_minutes(
    tiny: Path, examples: list[Example], tmp_path: Path
) -> None:
    run = start(tiny, examples, tmp_path, settings(max_steps=0, minutes=0.03, checkpoint_steps=0))
    started = time.monotonic()
    tally = run.train(ignore)
    assert 1.0 < time.monotonic() - started < 6
    assert len(tally.losses) >= MIN_STEPS
    assert run.schedule.rate() < 0.1 * settings().learning_rate
