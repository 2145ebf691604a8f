"""A few steps on pairs by our loop, timed; prints one JSON line. Run by `benchmarks.preference`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    given, path = json.loads(sys.argv[1]), Path(sys.argv[2])
    from undercroft.settings import AlignSettings
    from undercroft.train import lora, models
    from undercroft.train.loop import Run
    from undercroft.train.objectives import preference as goals

    params = AlignSettings(
        max_steps=given["steps"],
        learning_rate=given["rate"],
        batch_size=given["batch"],
        micro_batch_size=given["micro_batch"],
        lora_rank=given["rank"],
        lora_alpha=given["alpha"],
        checkpoint_seconds=1e6,
    )
    is_reward = given["objective"] == "reward"
    load = models.load_scorer if is_reward else models.load
    model, tokenizer = load(Path(given["base"]), params.precision, params.max_tokens)
    lora.begin(model, params)
    pairs = [pair_of(tokenizer, n, row) for n, row in enumerate(path.read_text().splitlines())]
    goal: goals.WorthMore | goals.Likelier = goals.WorthMore()
    if not is_reward:
        goal = goals.Likelier("dpo", given["beta"], goals.FrozenBase())
    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            model,
            goal,
            goals.grouped(pairs, params.micro_batch_size, 4 * params.max_tokens),
            params,
            folder=Path(folder),
            config_digest="benchmark",
            event=lambda kind, detail: None,
        )
        started, cpu = time.monotonic(), time.process_time()
        tally = run.train(lambda point, schedule: None)
        seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    measured = {"seconds": seconds, "cpu_seconds": cpu, "pairs": tally.examples}
    print(json.dumps({**measured, "losses": tally.losses}))


def pair_of(tokenizer: object, number: int, line: str) -> object:
    """A rendered pair in tokens: those that TRL makes of it."""
    from undercroft.train.objectives.preference import Pair

    row = json.loads(line)
    end = tokenizer.eos_token
    prompt, chosen, rejected = (
        tokenizer(text, add_special_tokens=False)["input_ids"]
        for text in (row["prompt"], row["chosen"] + end, row["rejected"] + end)
    )
    return Pair(str(number), (prompt, chosen), (prompt, rejected))


if __name__ == "__main__":
    main()
