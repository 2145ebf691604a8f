"""A device that is not the processor, of plain memory: what a real one would refuse, it refuses.

Tensors on it hold their numbers in a tensor of the processor, which nothing but this module sees.
Every operation of torch on them is carried out by the processor, to the bit, and fails when some of
its tensors lie here and others there. So a run on it shows both that nothing is left behind on the
host and that what is computed is the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as tree
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from tests.train.layouts import GOALS, SHAPE
from tests.train.small import model, start
from undercroft.errors import Cancelled
from undercroft.settings import LoopSettings
from undercroft.train.loop import Run
from undercroft.train.models import lora, scratch
from undercroft.train.objectives import fisher
from undercroft.train.objectives.branches import answer_logits
from undercroft.train.objectives.distillation import Distillation, lesson_of
from undercroft.train.objectives.penalties import KLToReference, Penalised, consolidated, to_start
from undercroft.train.parallel.team import Alone
from undercroft.train.points import Point
from undercroft.train.samples.lessons import Lessons, Notebook, key

Case = Callable[[Any, torch.device, Path], Any]

NAME = "elsewhere"


class _Module:
    """What torch asks of a kind of device, beside its operations: a generator of its own."""

    def __init__(self) -> None:
        self.generator = torch.Generator()

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        self.generator.manual_seed(seed)

    def get_rng_state(self, device: Any = None) -> Tensor:
        return self.generator.get_state()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        self.generator.set_state(state)


class There(Tensor):
    """A tensor on the device; ``held`` are its numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> There:
        made = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(),
            dtype=held.dtype, device=DEVICE, requires_grad=False,
        )  # fmt: skip
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _carry_out(func, args, kwargs or {})


class Elsewhere(TorchDispatchMode):
    """Within the block tensors can be made on the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _carry_out(func, args, kwargs or {})


def _carry_out(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = [each for each in tree.tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    there = [each for each in given if isinstance(each, There)]
    asked = kwargs.get("device")
    is_move = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
    strays = [each for each in given if not isinstance(each, There) and each.ndim]
    if there and strays and not is_move:
        raise RuntimeError(f"{func}: tensors are on {DEVICE} and on {strays[0].device}")
    inner = tree.tree_map_only(There, lambda each: each.held, (args, kwargs))
    if asked is not None:
        inner[1]["device"] = torch.device("cpu")
    generator = kwargs.get("generator")
    if there and generator is None and torch.Tag.nondeterministic_seeded in func.tags:
        found = _drawn(func, *inner)
    else:
        found = func(*inner[0], **inner[1])
    stays = bool(there) if asked is None else torch.device(asked).type == NAME
    if func is torch.ops.aten.copy_.default:
        stays = isinstance(args[0], There)
    if not stays:
        return found
    made = tree.tree_map_only(Tensor, There, found)
    return return_and_correct_aliasing(func, args, kwargs, made)


def _drawn(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """By the generator of the device, not by the host's."""
    before = torch.get_rng_state()
    own = torch.get_device_module(NAME)
    torch.set_rng_state(own.get_rng_state())
    try:
        return func(*args, **kwargs)
    finally:
        own.set_rng_state(torch.get_rng_state())
        torch.set_rng_state(before)


_setup_privateuseone_for_python_backend(NAME, _Module())
DEVICE = torch.device(NAME, 0)


def main(folder: Path, out: Path) -> None:
    """Go through all of `CASES` on the processor and here, and write down what each measured."""
    from transformers import AutoTokenizer

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found: dict[str, Any] = {}
    for name, case in CASES.items():
        sides = {"cpu": case(tokenizer, torch.device("cpu"), out / f"{name}-cpu")}
        with Elsewhere():
            sides["here"] = case(tokenizer, DEVICE, out / f"{name}-here")
        found[name] = sides
    (out / "found.json").write_text(json.dumps(found), encoding="utf-8")


def _goal(name: str, penalties: Callable[[Any, Any], Any] | None = None) -> Case:
    def train(tokenizer: Any, device: torch.device, folder: Path) -> Any:
        goal, samples, adapters = GOALS[name](tokenizer)
        model = _model(device)
        if penalties is not None:
            goal = Penalised(goal, penalties(model, _model(device)))
        if adapters is not None:
            lora.adapt(model, adapters, 1)
        return _points(model, goal, samples, device, folder)

    return train


def _model(device: torch.device) -> Any:
    model = scratch.build(replace(SHAPE, layers=1), "fp32", 3, {}).to(device)
    model.tie_weights()  # which a real device keeps
    return model


def _held(model: Any, parent: Any) -> Any:
    importance = {name: torch.ones_like(weight) for name, weight in parent.named_parameters()}
    return [
        to_start(0.1, parent),
        consolidated(0.1, parent, importance),
        KLToReference(0.5, parent),
    ]


def _taught(tokenizer: Any, device: torch.device, folder: Path) -> Any:
    """By a teacher on the device, whose lessons are kept on the host."""
    goal, samples, _ = GOALS["sft"](tokenizer)
    notebook = Notebook(folder / "lessons")
    teacher = _model(device)
    for sample in samples:
        batch = goal.collate(sample)
        notebook.add(key(batch.tensors), lesson_of(teacher, batch, 8, 2.0))
    notebook.close({"temperature": 2.0})
    taught = Distillation(goal, Lessons(folder / "lessons"), 0.7)
    student = _model(device)
    with torch.no_grad():
        next(student.parameters()).mul_(1.5)
    return _points(student, taught, samples, device, folder / "run")


def _fisher(tokenizer: Any, device: torch.device, folder: Path) -> Any:
    goal, samples, _ = GOALS["sft"](tokenizer)
    batches = [goal.collate(sample) for sample in samples[:3]]
    found = fisher.diagonal(_model(device), batches, answer_logits, 7)
    return [float(value.sum()) for value in found.values()]


def _killed(tokenizer: Any, device: torch.device, folder: Path) -> Any:
    """Losses of a run with dropout that was stopped and went on, and of one that was not."""

    def run(where: Path, stop: int = 0) -> list[float]:
        torch.manual_seed(stop)
        started = start(where, model=model().to(device), team=Alone(device))

        def report(point: Point, schedule: object) -> None:
            if point.step == stop:
                raise Cancelled("stop")

        with suppress(Cancelled):
            started.train(report)
        return started.tally.losses

    straight = run(folder / "straight")
    run(folder / "stopped", stop=5)
    return straight, run(folder / "stopped")


def _points(model: Any, goal: Any, samples: Any, device: torch.device, folder: Path) -> Any:
    params = LoopSettings(
        max_steps=2, batch_size=4, micro_batch_size=2, learning_rate=3e-3, precision="fp32",
        checkpoint_steps=1, observe_steps=1, heldout_steps=2, optimizer="muon",
    )  # fmt: skip
    points: list[tuple[float, ...]] = []
    run = Run(
        model, goal, samples, params, folder=folder, config_digest="c",
        event=lambda kind, detail: None, team=Alone(device), heldout=samples[:2],
    )  # fmt: skip
    run.train(
        lambda point, _: points.append((point.loss, point.grad_norm, *point.metrics.values()))
    )
    assert {weight.device.type for weight in model.parameters()} == {device.type}
    return points


CASES: dict[str, Case] = {
    "next_token": _goal("next_token"),
    "dpo-lora": _goal("dpo-lora"),
    "held": _goal("sft", _held),
    "taught": _taught,
    "fisher": _fisher,
    "killed": _killed,
}

if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
