"""Training in fp16: the same losses as in fp32, whatever overflows on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.layouts import GOALS, SHAPE
from undercroft.errors import Cancelled, StageFailed
from undercroft.settings import LoopSettings
from undercroft.train.loop import Run
from undercroft.train.models import scratch
from undercroft.train.objectives.objective import Batch, Terms
from undercroft.train.points import Point
from undercroft.train.scaling import FIRST, GROW_AFTER, LossScale

Events = list[tuple[str, dict[str, Any]]]


def begun(
    folder: Path, precision: str, events: Events | None = None, goal: Any = None, **changed: Any
) -> Run[Any]:
    own, samples, _ = GOALS["next_token"](None)
    values = {
        "max_steps": 8, "batch_size": 6, "micro_batch_size": 2, "learning_rate": 3e-3,
        "checkpoint_steps": 1, "observe_steps": 0,
    }  # fmt: skip
    params = LoopSettings(precision=precision, **{**values, **changed})
    model = scratch.build(replace(SHAPE, layers=2), precision, 3, {})
    return Run(
        model, goal or own, samples, params, folder=folder, config_digest="c",
        event=lambda kind, detail: (events if events is not None else []).append((kind, detail)),
    )  # fmt: skip


def ignore(point: Point, schedule: object) -> None:
    pass


def test_losses_are_those_of_fp32(tmp_path: Path) -> None:
    found = {name: begun(tmp_path / name, name) for name in ("fp16", "fp32")}
    losses = {name: run.train(ignore).losses for name, run in found.items()}
    assert losses["fp16"] == pytest.approx(losses["fp32"], rel=2e-3)
    assert losses["fp16"][-1] < losses["fp16"][0]
    assert next(found["fp16"].model.parameters()).dtype == torch.float16


def test_a_gradient_smaller_than_fp16_can_say_is_not_lost(tmp_path: Path) -> None:
    """The mean loss of a step times 1e-6: unscaled, most gradients would round to nothing."""
    norms: dict[str, float] = {}
    for name in ("fp16", "fp32"):
        goal = Faint(GOALS["next_token"](None)[0], 1e-6)
        run = begun(tmp_path / name, name, goal=goal, max_steps=1)
        run.train(lambda point, _, name=name: norms.update({name: point.grad_norm}))  # type: ignore[misc]
    assert norms["fp16"] == pytest.approx(norms["fp32"], rel=1e-2)


class Faint:
    """An objective whose loss is ``factor`` times another's."""

    def __init__(self, inner: Any, factor: float) -> None:
        self._inner, self._factor = inner, factor

    def collate(self, rows: Any, /) -> Batch | None:
        return self._inner.collate(rows)

    def terms(self, model: Any, batch: Batch) -> Terms:
        terms = self._inner.terms(model, batch)
        return replace(terms, loss_sum=terms.loss_sum * self._factor)


def test_steps_that_overflow_are_left_out_and_no_matter_of_the_guard(tmp_path: Path) -> None:
    events: Events = []
    run = begun(tmp_path, "fp16", events)
    run._now.scale.scale = 2.0**23
    points: list[Point] = []
    tally = run.train(lambda point, _: points.append(point))
    halved = [detail for kind, detail in events if kind == "scale_halved"]
    assert 0 < tally.overflows == len(halved) < 8
    assert tally.dropped == [detail["step"] for detail in halved]
    assert tally.skipped == 0
    assert run._now.guard.is_calm
    assert [point.metrics["loss_scale"] for point in points] == [halved[-1]["scale"]] * len(points)
    assert points[-1].loss < points[0].loss


def test_a_killed_run_resumes_with_the_scale_it_had(tmp_path: Path) -> None:
    def trained(folder: Path, stop: int) -> Run[Any]:
        run = begun(folder, "fp16")
        if run.schedule.step == 0:
            run._now.scale.scale = 2.0**23

        def report(point: Point, _: object) -> None:
            if point.step == stop:
                raise Cancelled("stop")

        try:
            run.train(report)
        except Cancelled:
            return trained(folder, 0)
        return run

    straight, resumed = trained(tmp_path / "straight", 0), trained(tmp_path / "killed", 6)
    assert straight.tally.overflows
    assert resumed.tally.losses == straight.tally.losses
    assert resumed._now.scale == straight._now.scale
    for ours, theirs in zip(resumed.model.parameters(), straight.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_what_is_not_finite_whatever_the_scale_ends_the_run(tmp_path: Path) -> None:
    goal = Faint(GOALS["next_token"](None)[0], float("nan"))
    with pytest.raises(StageFailed, match="not finite"):
        begun(tmp_path, "fp16", goal=goal).train(ignore)


def judged(scale: LossScale, loss: float, norm: float, times: int = 1) -> list[bool]:
    return [scale.overflowed(loss, norm) for _ in range(times)]


def test_the_scale_grows_and_falls_as_torchs_does() -> None:
    """Held against `torch.amp.GradScaler`, which needs no device for its arithmetic."""
    ours, theirs = LossScale.of("fp16"), torch.amp.GradScaler("cpu")
    weight = torch.nn.Parameter(torch.ones(1))
    stepper = torch.optim.SGD([weight])
    theirs.scale(torch.ones(1))
    for norm in [1.0] * GROW_AFTER + [float("inf")] + [1.0] * 3 + [float("inf")] * 2:
        weight.grad = torch.full((1,), norm)
        theirs.step(stepper)
        theirs.update()
        ours.overflowed(1.0, norm)
        assert ours.scale == theirs.get_scale()


def test_a_gradient_that_no_scale_helps_is_the_guards_to_judge() -> None:
    scale = LossScale.of("fp16")
    most = int(torch.tensor(FIRST).log2())
    assert judged(scale, 1.0, float("inf"), most + 2) == [True] * most + [False] * 2
    assert judged(LossScale.of("fp16"), float("nan"), float("nan")) == [False]
    assert judged(LossScale.of("bf16"), 1.0, float("inf")) == [False]
