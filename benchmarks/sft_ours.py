"""A few steps of our LoRA fine-tuning, timed; prints one JSON line. Run by `benchmarks.sft`."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    given, out = json.loads(sys.argv[1]), Path(sys.argv[2])
    from benchmarks.dpo import MODULES, rows
    from benchmarks.sft import TITLE, examples
    from benchmarks.timing import trained
    from undercroft.settings import TrainSettings
    from undercroft.train.models import folders, lora
    from undercroft.train.objectives.objective import objective
    from undercroft.train.samples.data import Sampler, packs

    params = TrainSettings(
        max_steps=given["steps"],
        learning_rate=given["rate"],
        batch_size=given["chats_per_step"],
        micro_batch_size=given["chats_per_step"],
        max_tokens=2 * given["row_tokens"],
        lora_rank=given["rank"],
        lora_alpha=given["alpha"],
        checkpoint_seconds=1e6,
    )
    model, tokenizer = folders.load(Path(given["base"]), params.precision, params.max_tokens)
    shape = lora.begin(model, params)
    goal = objective("sft", tokenizer, TITLE, params.max_tokens)
    taught, _ = rows(MODULES)
    samples = packs(examples(taught), params.micro_batch_size)
    tally, seconds = trained(model, goal, samples, params)
    lora.end(model, shape, out / "adapter", "base")
    folders.save(model, tokenizer, out)
    order = Sampler(len(samples), params.seed)
    seen = [each for _ in range(tally.positions[-1]) for each in samples[next(order)]]
    measured = {
        **seconds,
        "tokens": sum(goal.collate([each]).num_tokens for each in seen),
        "read": tally.tokens,
        "losses": tally.losses,
    }
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
