"""A few steps of our training, timed; prints one JSON line. Run by `benchmarks.main_job`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    base, examples, title, steps, rate, out = sys.argv[1:7]
    from undercroft.settings import TrainSettings
    from undercroft.train import models
    from undercroft.train.data import packs, read_examples
    from undercroft.train.loop import Run
    from undercroft.train.objective import objective

    params = TrainSettings(max_steps=int(steps), learning_rate=float(rate), batch_size=8)
    found = read_examples(Path(examples))
    model, tokenizer = models.load(Path(base), params.precision, params.max_tokens)
    goal = objective("sft", tokenizer, title, params.max_tokens)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            model,
            goal,
            packs(found, params.micro_batch_size),
            params,
            folder=Path(folder),
            config_digest="benchmark",
            event=lambda kind, detail: None,
        )
        started = time.monotonic()
        tally = run.train(lambda point, schedule: None)
        seconds = time.monotonic() - started
    models.save(model, tokenizer, Path(out))
    print(json.dumps({"seconds": seconds, "examples": tally.examples}))


if __name__ == "__main__":
    main()
