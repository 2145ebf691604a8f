"""A few steps of our training, timed; prints one JSON line. Run by `benchmarks.main_job`."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    base, examples, title, steps, rate, out = sys.argv[1:7]
    from benchmarks.timing import trained
    from undercroft.settings import TrainSettings
    from undercroft.train.models import folders
    from undercroft.train.objectives.objective import objective
    from undercroft.train.samples.data import packs, read_examples

    params = TrainSettings(max_steps=int(steps), learning_rate=float(rate), batch_size=8)
    found = read_examples(Path(examples))
    model, tokenizer = folders.load(Path(base), params.precision, params.max_tokens)
    goal = objective("sft", tokenizer, title, params.max_tokens)
    samples = packs(found, params.micro_batch_size)
    tally, seconds = trained(model, goal, samples, params)
    folders.save(model, tokenizer, Path(out))
    print(json.dumps({**seconds, "examples": tally.examples}))


if __name__ == "__main__":
    main()
