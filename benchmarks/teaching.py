"""What a small student gains from a teacher, over seeds, and with which settings of `distil`.

python -m benchmarks.teaching [--seeds 20 21 22] [--steps 100]

As `benchmarks.distil`, at a size that three seeds can be had of: the teacher is a model of 0.8
million parameters, pretrained on the documentation that every CPython carries; students of 0.1
million read 300 rows of it, with the teacher's words or without, the same ones in the same order.
Documents that nobody read are parted in two. On the first half the settings are compared, each
changed alone from the defaults; on the second what they come to is told: KL(teacher || student) of
the next token in nats, and the loss of the text itself. ``ratio`` is that of the divergences with
the defaults of `distil`, the mean over seeds, with a t-interval of 95 %.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.compare import Result, last_line, table
from benchmarks.grammar import write
from undercroft.jobs import WORKER_ENVIRONMENT
from undercroft.settings import DistilSettings, PretrainSettings

ARMS: Final[dict[str, dict[str, float]]] = {
    "defaults": {},
    "temperature 2": {"temperature": 2.0},
    "temperature 4": {"temperature": 4.0},
    "share 0.5": {"share": 0.5},
    "share 1": {"share": 1.0},
    "top_k 8": {"top_k": 8},
}
ALONE: Final = "alone"
ROWS, CONTEXT, ROWS_AT_ONCE = 300, 256, 4
TEACHER: Final = {"layers": 4, "width": 128, "heads": 4, "kv_heads": 2, "learning_rate": 6e-3}
STUDENT: Final = {"layers": 2, "width": 64, "heads": 2, "kv_heads": 1, "learning_rate": 6e-3}
_T_OF_95: Final = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776}  # two-sided, by the number of seeds

Found = dict[str, dict[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Students with and without a teacher.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[20, 21, 22])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--teacher-steps", type=int, default=300)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        found = by_seed(options.one, options.seeds[0], options.steps, options.teacher_steps)
        print(json.dumps(found))
        return
    runs: list[Found] = []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as name:
            words = [sys.executable, "-m", "benchmarks.teaching", "--one", name]
            words += ["--seeds", str(seed), "--steps", str(options.steps)]
            words += ["--teacher-steps", str(options.teacher_steps)]
            runs.append(last_line(words, WORKER_ENVIRONMENT))
    report(runs)


def by_seed(root: Path, seed: int, steps: int, teacher_steps: int) -> Found:
    """All students of one seed, in this process: by arm what they came to on both halves."""
    import torch

    from benchmarks.grammar_ours import keep
    from benchmarks.timing import trained
    from undercroft.train.models import scratch
    from undercroft.train.objectives.distillation import Distillation
    from undercroft.train.objectives.objective import objective
    from undercroft.train.samples import corpus, tokenizing
    from undercroft.train.samples.lessons import Lessons
    from undercroft.train.samples.packing import pack

    torch.set_num_threads(1)
    write(root)
    texts = json.loads((root / "documents.json").read_text(encoding="utf-8"))
    params = settings(seed, TEACHER, teacher_steps)
    tokenizer = keep(texts["taught"], params, root)
    read, _, known = corpus.read(root)
    plain = objective("next_token", known, "", CONTEXT, reads="documents")
    rows = pack(read, CONTEXT, ROWS_AT_ONCE, seed)

    def model(chosen: PretrainSettings) -> Any:
        shape = scratch.shape_of(chosen, params.vocabulary)
        return scratch.build(shape, "fp32", seed, tokenizing.special_ids(tokenizer))

    teacher = model(params)
    trained(teacher, plain, rows, params)
    halves = [
        heard(teacher, tokenizing.marked(tokenizer, texts["held_out"][at::2])) for at in (0, 1)
    ]
    few = rows[: ROWS // ROWS_AT_ONCE]
    small = settings(seed, STUDENT, steps)
    found: Found = {}
    for arm in (ALONE, *ARMS):
        goal = plain
        if arm != ALONE:
            chosen = DistilSettings.model_validate(ARMS[arm])
            folder = root / f"lessons-{chosen.top_k}-{chosen.temperature:g}"
            ask(folder, teacher, plain, few, chosen)
            goal = Distillation(plain, Lessons(folder), chosen.share)
        student = model(small)
        trained(student, goal, few, small)
        (dev_kl, dev_loss), (kl, loss) = (apart(student, half) for half in halves)
        found[arm] = {"dev_kl": dev_kl, "dev_loss": dev_loss, "kl": kl, "loss": loss}
        print(f"seed {seed}, {arm}: {found[arm]}", file=sys.stderr, flush=True)
    return found


def settings(seed: int, shape: Mapping[str, Any], steps: int) -> PretrainSettings:
    return PretrainSettings(
        **shape, vocabulary=512, context=CONTEXT, batch_size=8, micro_batch_size=ROWS_AT_ONCE,
        max_steps=steps, seed=seed, precision="fp32", checkpoint_seconds=1e6, observe_steps=0,
        spike_threshold=0.0,
    )  # fmt: skip


def ask(folder: Path, teacher: Any, goal: Any, samples: Any, params: DistilSettings) -> None:
    """Have in ``folder`` what ``teacher`` says, if it is not there yet."""
    from undercroft.train.objectives.distillation import lesson_of
    from undercroft.train.samples.lessons import FACTS_FILE, Notebook, key

    if (folder / FACTS_FILE).exists():
        return
    notebook = Notebook(folder)
    for sample in samples:
        batch = goal.collate(sample)
        lesson = lesson_of(teacher.eval(), batch, params.top_k, params.temperature)
        notebook.add(key(batch.tensors), lesson)
    notebook.close({"temperature": params.temperature})


def heard(teacher: Any, documents: Iterable[list[int]]) -> list[tuple[Any, Any]]:
    """The tokens of ``documents``, a context at a time, and what ``teacher`` says there."""
    import torch

    parts = [
        torch.tensor([tokens[at : at + CONTEXT + 1]])
        for tokens in documents
        for at in range(0, len(tokens) - 1, CONTEXT)
    ]
    return [(ids, said(teacher, ids)) for ids in parts]


def said(model: Any, ids: Any) -> Any:
    """The logarithm of what ``model`` gives every token, (T, V)."""
    import torch

    with torch.no_grad():
        logits = model.eval()(input_ids=ids[:, :-1], use_cache=False).logits[0]
    return logits.log_softmax(-1)


def apart(student: Any, half: Sequence[tuple[Any, Any]]) -> tuple[float, float]:
    """Of a token in ``half``: the divergence from the teacher, and the loss, in nats."""
    from torch.nn import functional

    divergence, loss, count = 0.0, 0.0, 0
    for ids, theirs_tv in half:
        own_tv = said(student, ids)
        divergence += float(functional.kl_div(own_tv, theirs_tv, reduction="sum", log_target=True))
        loss += float(functional.nll_loss(own_tv, ids[0, 1:], reduction="sum"))
        count += len(own_tv)
    return divergence / count, loss / count


def report(runs: Sequence[Found]) -> None:
    def mean(arm: str, what: str) -> float:
        return statistics.mean(run[arm][what] for run in runs)

    kinds = ("dev_kl", "dev_loss", "kl", "loss")
    rows = [[arm, *(mean(arm, kind) for kind in kinds)] for arm in runs[0]]
    print(table(["student", "dev KL", "dev loss", "KL", "loss"], rows))
    gains = [run[ALONE]["kl"] / run["defaults"]["kl"] for run in runs]
    saved = [run[ALONE]["loss"] - run["defaults"]["loss"] for run in runs]
    quality = {
        "seeds": len(runs),
        "gains": gains,
        "gain_interval": interval(gains),
        "loss_saved": statistics.mean(saved),
        "loss_saved_interval": interval(saved),
        "best_on_dev_kl": min(ARMS, key=lambda arm: mean(arm, "dev_kl")),
        "best_on_dev_loss": min(ARMS, key=lambda arm: mean(arm, "dev_loss")),
        "arms": {row[0]: dict(zip(kinds, row[1:], strict=True)) for row in rows},
        "equal": mean("defaults", "loss") <= mean(ALONE, "loss"),
    }
    ours, theirs = mean("defaults", "kl"), mean(ALONE, "kl")
    gain = statistics.mean(gains)
    Result("teaching", ours, theirs, gain, "nats a token", quality).print()


def interval(found: Sequence[float]) -> tuple[float, float]:
    """Student's, of 95 %."""
    if len(found) < 2:
        return -math.inf, math.inf
    middle = statistics.mean(found)
    half = _T_OF_95.get(len(found), 2.0) * statistics.stdev(found) / math.sqrt(len(found))
    return middle - half, middle + half


if __name__ == "__main__":
    main()
