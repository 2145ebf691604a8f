"""A few steps of our pretraining, timed; prints one JSON line. Run by `benchmarks.pretrain`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    base, corpus_folder, settings, out = sys.argv[1:5]
    import torch

    from benchmarks.pretrain import rows_of
    from undercroft.settings import PretrainSettings
    from undercroft.train import corpus, models
    from undercroft.train.loop import Run
    from undercroft.train.objective import objective

    params = PretrainSettings.model_validate_json(settings)
    _, _, tokenizer = corpus.read(Path(corpus_folder))
    model, _ = models.load(Path(base), params.precision, params.context)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            model,
            objective("next_token", tokenizer, "", params.context, reads="documents"),
            rows_of(Path(corpus_folder), params),
            params,
            folder=Path(folder),
            config_digest="benchmark",
            event=lambda kind, detail: None,
        )
        started, cpu = time.monotonic(), time.process_time()
        tally = run.train(lambda point, schedule: None)
        seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    model.to(torch.float32).save_pretrained(out)
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "tokens": tally.tokens}))


if __name__ == "__main__":
    main()
