"""A few steps of our pretraining, timed; prints one JSON line. Run by `benchmarks.pretrain`."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    base, corpus_folder, settings, out = sys.argv[1:5]
    import torch

    from benchmarks.pretrain import rows_of
    from benchmarks.timing import trained
    from undercroft.settings import PretrainSettings
    from undercroft.train.models import folders
    from undercroft.train.objectives.objective import objective
    from undercroft.train.samples import corpus

    params = PretrainSettings.model_validate_json(settings)
    _, _, tokenizer = corpus.read(Path(corpus_folder))
    model, _ = folders.load(Path(base), params.precision, params.context)
    goal = objective("next_token", tokenizer, "", params.context, reads="documents")
    samples = rows_of(Path(corpus_folder), params)
    tally, seconds = trained(model, goal, samples, params)
    model.to(torch.float32).save_pretrained(out)
    print(json.dumps({**seconds, "tokens": tally.tokens}))


if __name__ == "__main__":
    main()
