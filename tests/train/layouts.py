"""Trains a tiny Llama in every layout over processes, and writes down what each step measured.

python -m tests.train.layouts FOLDER OUT [LAYOUT/GOAL ...]; all of them if none is named. FOLDER has
a tokenizer. Processes of one number are started once, and go through all that is theirs.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from tests.train.test_next_token import corpus
from undercroft.errors import Cancelled
from undercroft.records import Example, Passage, Preference, Turn
from undercroft.settings import LoopSettings, ParallelSettings
from undercroft.train.arranging import spread
from undercroft.train.loop import Run
from undercroft.train.models import lora, scratch
from undercroft.train.objectives import preference
from undercroft.train.objectives.next_token import NextToken
from undercroft.train.objectives.sft import SupervisedFineTuning
from undercroft.train.parallel.plan import Plan, is_cut
from undercroft.train.parallel.team import Alone, Team, leave, team
from undercroft.train.points import Point
from undercroft.train.samples.data import packs
from undercroft.train.samples.packing import pack

STEPS = 3
SHAPE = scratch.Shape(layers=4, width=32, heads=4, kv_heads=2, vocabulary=259, context=64)

LAYOUTS: dict[str, dict[str, Any]] = {
    "one": {},
    "one-recomputed": {"activation_checkpointing": True},
    "one-compiled": {"compile": "aot_eager"},
    "dp2": {"processes": 2},
    "fsdp2": {"processes": 2, "shard": 2},
    "fsdp2-recomputed": {"processes": 2, "shard": 2, "activation_checkpointing": True},
    "tp2": {"processes": 2, "tensor": 2},
    "tp2-sequence": {"processes": 2, "tensor": 2, "sequence": True},
    "tp2-recomputed": {"processes": 2, "tensor": 2, "activation_checkpointing": True},
    "pp2": {"processes": 2, "pipeline": 2},
    "pp2-gpipe": {"processes": 2, "pipeline": 2, "schedule": "gpipe"},
    "pp2-interleaved": {"processes": 2, "pipeline": 2, "schedule": "interleaved"},
    "pp2-zero-bubble": {"processes": 2, "pipeline": 2, "schedule": "zero_bubble"},
    "pp2-recomputed": {"processes": 2, "pipeline": 2, "activation_checkpointing": True},
    "hsdp2x2": {"processes": 4, "shard": 2},
    "fsdp2xtp2": {"processes": 4, "shard": 2, "tensor": 2},
    "fsdp2xtp2-sequence": {"processes": 4, "shard": 2, "tensor": 2, "sequence": True},
    "fsdp2xpp2": {"processes": 4, "shard": 2, "pipeline": 2},
    "tp2xpp2": {"processes": 4, "tensor": 2, "pipeline": 2},
    "pp4": {"processes": 4, "pipeline": 4},
    "pp4-zero-bubble": {"processes": 4, "pipeline": 4, "schedule": "zero_bubble"},
    "dp2xpp2xtp2": {"processes": 8, "pipeline": 2, "tensor": 2},
    "fsdp2xpp2xtp2": {"processes": 8, "shard": 2, "pipeline": 2, "tensor": 2},
    "hsdp2x2xtp2": {"processes": 8, "shard": 2, "tensor": 2, "sequence": True},
}


def _next_token(tokenizer: Any) -> tuple[Any, Sequence[Any], Any]:
    del tokenizer
    return NextToken(), pack(corpus([20, 45, 33, 9, 28, 51] * 6, 259), 48, 2, 0), None


def _sft(tokenizer: Any) -> tuple[Any, Sequence[Any], Any]:
    examples = [
        Example(
            id=f"{n}", kind="definition", question=f"What is tool {n}?", answer=f"Tool {n}.",
            passages=(Passage(f"{n // 2}", f"d{n}", "u", f"T{n // 2}", "A cup.", 0, 6),),
            cited=(1,), answerable=True, group=f"d{n}",
        )
        for n in range(24)
    ]  # fmt: skip
    goal = SupervisedFineTuning(tokenizer, "Tools", 4096)
    return goal, packs(examples, 2), None


def _pairs(tokenizer: Any) -> Sequence[tuple[preference.Pair, ...]]:
    found = [
        Preference(f"{n}", (Turn("user", f"Is it {n}?"),), "Yes." * (1 + n % 3), "No, red.", "a")
        for n in range(24)
    ]
    pairs, _ = preference.encode(tokenizer, found, 4096)
    return preference.grouped(pairs, 2, 4096)


def _dpo(tokenizer: Any) -> tuple[Any, Sequence[Any], Any]:
    sums = {f"{n}": [-20.0 - n % 5, -30.0 + n % 7] for n in range(24)}
    return preference.Likelier("dpo", 0.3, preference.stored(sums)), _pairs(tokenizer), None


def _dpo_lora(tokenizer: Any) -> tuple[Any, Sequence[Any], Any]:
    goal = preference.Likelier("dpo", 0.3, preference.FrozenBase())
    return goal, _pairs(tokenizer), lora.Lora(4, 8.0)


GOALS: dict[str, Callable[[Any], tuple[Any, Sequence[Any], Any]]] = {
    "next_token": _next_token,
    "sft": _sft,
    "sft-fp16": _sft,
    "dpo": _dpo,
    "dpo-lora": _dpo_lora,
}


def is_possible(layout: str, goal: str) -> bool:
    """Whether there is such a run: a pipeline reads a batch once."""
    return not (goal == "dpo-lora" and LAYOUTS[layout].get("pipeline", 1) > 1)


ALL = [f"{layout}/{goal}" for goal in GOALS for layout in LAYOUTS if is_possible(layout, goal)]


def train(
    tokenizer: Any, name: str, crew: Team, folder: Path, stop: int = STEPS, steps: int = STEPS
) -> list[tuple[float, ...]]:
    """Loss and gradient norm of the steps to ``stop``, of ``steps``, of the run in ``folder``; and
    of the last of every `STEPS` the loss on some samples that are read without training."""
    layout, _, goal = name.partition("/")
    settings = ParallelSettings(**LAYOUTS[layout])
    objective, samples, adapters = GOALS[goal](tokenizer)
    precision = "fp16" if goal.endswith("fp16") else "fp32"
    device = scratch.ABSENT if is_cut(settings) else "cpu"
    model = scratch.build(SHAPE, precision, 3, {}, device)
    if adapters is not None:
        lora.adapt(model, adapters, 1)
        for number, weight in enumerate(p for p in model.parameters() if p.requires_grad):
            draw = torch.Generator().manual_seed(number)
            weight.data += 0.02 * torch.randn(weight.shape, generator=draw)
    spread(model, crew, settings)
    params = LoopSettings(
        max_steps=steps, batch_size=6, micro_batch_size=2, learning_rate=3e-3, precision=precision,
        spike_threshold=0, parallel=settings, checkpoint_steps=1, observe_steps=0,
        heldout_steps=STEPS,
    )  # fmt: skip
    points: list[tuple[float, ...]] = []

    def note(point: Point, _: object) -> None:
        heldout = [point.metrics[name] for name in ("heldout_loss",) if name in point.metrics]
        points.append((point.loss, point.grad_norm, *heldout))

    def beat(step: int) -> None:
        if step > stop:
            raise Cancelled("far enough")

    run = Run(
        model, objective, samples, params, folder=folder, config_digest="c",
        event=lambda kind, detail: None, team=crew, beat=beat, heldout=samples[:3],
    )  # fmt: skip
    with suppress(Cancelled):
        run.train(note)
    return points


def in_processes(size: int, work: Callable[[], None], meet: Path) -> None:
    """Carry out ``work`` in ``size`` processes of one group."""
    children = []
    for rank in range(size):
        child = os.fork()
        if child:
            children.append(child)
            continue
        try:
            distributed.init_process_group(
                "gloo", f"file://{meet}", rank=rank, world_size=size, timeout=timedelta(seconds=90)
            )
            work()
            leave()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    ended = [os.waitpid(child, 0)[1] for child in children]
    if any(ended):
        sys.exit(f"{size} processes ended with {ended}")


def main(folder: Path, out: Path, names: Sequence[str]) -> None:
    from transformers import AutoTokenizer

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    sizes = {LAYOUTS[name.split("/")[0]].get("processes", 1) for name in names}

    def of(size: int) -> None:
        for name in names:
            settings = ParallelSettings(**LAYOUTS[name.split("/")[0]])
            if settings.processes != size:
                continue
            crew = team(Plan.of(settings)) if size > 1 else Alone()
            began = time.monotonic()
            if crew.rank == 0:
                print(name, flush=True)
            points = train(tokenizer, name, crew, out / "runs" / name)
            if crew.rank == 0:
                found = {"points": points, "seconds": time.monotonic() - began}
                path = out / f"{name.replace('/', '.')}.json"
                path.write_text(json.dumps(found), encoding="utf-8")

    for size in sorted(sizes, reverse=True):  # nothing is forked that has computed before
        if size == 1:
            of(1)
        else:
            in_processes(size, lambda size=size: of(size), out / f"meet-{size}")  # type: ignore[misc]


def relay(folder: Path, out: Path, names: Sequence[str]) -> None:
    """One run carried on in each of ``names`` for `STEPS` steps, from checkpoint to checkpoint."""
    from transformers import AutoTokenizer

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    steps = STEPS * len(names)
    for number, name in enumerate(names, start=1):
        settings = ParallelSettings(**LAYOUTS[name.split("/")[0]])

        def work(
            name: str = name, number: int = number, settings: ParallelSettings = settings
        ) -> None:
            crew = team(Plan.of(settings)) if settings.processes > 1 else Alone()
            stop = number * STEPS
            points = train(tokenizer, name, crew, out / "relay", stop, steps)
            if crew.rank == 0:
                (out / f"relay-{number}.json").write_text(json.dumps(points), encoding="utf-8")

        if settings.processes == 1:
            work()
        else:
            in_processes(settings.processes, work, out / f"meet-relay-{number}")
    straight = train(
        tokenizer, f"one/{names[0].split('/')[1]}", Alone(), out / "straight", steps, steps
    )
    (out / "relay-0.json").write_text(json.dumps(straight), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "--relay":
        relay(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] or ALL)
