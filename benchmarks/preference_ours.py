"""A few steps on pairs by our loop, timed; prints one JSON line. Run by `benchmarks.preference`."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    given, path = json.loads(sys.argv[1]), Path(sys.argv[2])
    from benchmarks.timing import trained
    from undercroft.settings import AlignSettings
    from undercroft.train.models import folders, lora
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
    load = folders.load_scorer if is_reward else folders.load
    model, tokenizer = load(Path(given["base"]), params.precision, params.max_tokens)
    lora.begin(model, params)
    pairs = [pair_of(tokenizer, n, row) for n, row in enumerate(path.read_text().splitlines())]
    goal: goals.WorthMore | goals.Likelier = goals.WorthMore()
    if not is_reward:
        goal = goals.Likelier("dpo", given["beta"], goals.FrozenBase())
    samples = goals.grouped(pairs, params.micro_batch_size, 4 * params.max_tokens)
    tally, seconds = trained(model, goal, samples, params)
    measured = {**seconds, "pairs": tally.examples}
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
