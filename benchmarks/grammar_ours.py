"""Our pretraining of a model that begins to write, timed; prints one JSON line.

Run by `benchmarks.grammar`, with a file of documents, settings in JSON, and a folder; and by
`benchmarks.sentences` with ``--write`` and how many sentences it should write at least.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main() -> None:
    documents, settings, out, *more = sys.argv[1:]
    import torch

    from benchmarks.timing import trained
    from undercroft.settings import PretrainSettings
    from undercroft.train.models import folders, scratch
    from undercroft.train.objectives.objective import objective
    from undercroft.train.samples import corpus, tokenizing
    from undercroft.train.samples.packing import pack

    params = PretrainSettings.model_validate_json(settings)
    texts = json.loads(Path(documents).read_text(encoding="utf-8"))
    folder = Path(out)
    started, cpu = time.monotonic(), time.process_time()
    tokenizer = keep(texts["taught"], params, folder)
    before = {"seconds": time.monotonic() - started, "cpu_seconds": time.process_time() - cpu}
    read, _, hugging_face = corpus.read(folder)
    shape = scratch.shape_of(params, params.vocabulary)
    special = tokenizing.special_ids(tokenizer)
    model = scratch.build(shape, params.precision, params.seed, special)
    packed = pack(read, params.context, params.micro_batch_size, params.seed)
    goal = objective("next_token", hugging_face, "", params.context, reads="documents")
    tally, seconds = trained(model, goal, packed, params)
    folders.save(model, hugging_face, folder / "model")
    measured = {
        **{name: seconds[name] + before[name] for name in seconds},
        "bits_a_byte": bits_a_byte(model.float().eval(), tokenizer, texts["held_out"], params),
        "parameters": shape.parameters,
        "tokens": tally.tokens,
        "text": "\n\n".join(pages(model, tokenizer, int(more[1])))
        if more
        else sample(model, tokenizer, torch),
    }
    print(json.dumps(measured))


def keep(texts: Sequence[str], params: Any, folder: Path) -> Any:
    """Learn a tokenizer from ``texts`` and write them as `corpus.read` reads them."""
    import numpy as np

    from undercroft.train.samples import tokenizing

    tokenizer = tokenizing.learn(texts, params.vocabulary)
    tokenizing.save(tokenizer, folder / "tokenizer", params.context)
    tokens = list(tokenizing.marked(tokenizer, list(texts)))
    np.concatenate(tokens).astype(np.uint32).tofile(folder / "tokens.bin")
    offsets = np.cumsum([0, *map(len, tokens)]).tolist()
    record = {"documents": [str(number) for number in range(len(texts))], "offsets": offsets}
    (folder / "documents.json").write_text(json.dumps(record))
    return tokenizer


def bits_a_byte(model: Any, tokenizer: Any, texts: Sequence[str], params: Any) -> float:
    """Over all tokens of ``texts``, each document's end included, by the bytes that they stand for.

    A window is as long as the model was trained for; but for a document's first, half of it has
    been scored before, as for the peer.
    """
    import torch
    from torch.nn import functional

    from undercroft.train.samples import tokenizing

    half = params.context // 2
    total = 0.0
    with torch.no_grad():
        for tokens in tokenizing.marked(tokenizer, list(texts)):
            ids = torch.tensor(tokens)
            for at in range(0, max(len(ids) - 1 - half, 1), half):
                window = ids[at : at + params.context + 1]
                logits = model(input_ids=window[None, :-1], use_cache=False).logits[0]
                new = half if at else 0
                total += float(
                    functional.cross_entropy(logits[new:], window[1 + new :], reduction="sum")
                )
    return total / math.log(2) / sum(len(text.encode()) for text in texts)


def sample(model: Any, tokenizer: Any, torch: Any) -> str:
    """What the model writes from nothing, drawn as the peer draws."""
    from undercroft.train.samples.tokenizing import DOCUMENT

    torch.manual_seed(1337)
    start = torch.tensor([[tokenizer.token_to_id(DOCUMENT)]])
    found = model.generate(
        start, do_sample=True, temperature=0.8, top_k=200, max_new_tokens=240, min_new_tokens=240,
        attention_mask=torch.ones_like(start), pad_token_id=int(start[0, 0]),
    )  # fmt: skip
    return str(tokenizer.decode(found[0].tolist()))


def pages(model: Any, tokenizer: Any, sentences: int) -> list[str]:
    """What it writes from nothing, until there are so many full stops; a document each time."""
    import torch

    from undercroft.train.samples.tokenizing import DOCUMENT

    torch.manual_seed(1337)
    start = torch.full((16, 1), tokenizer.token_to_id(DOCUMENT))
    found: list[str] = []
    while sum(text.count(". ") for text in found) < 2 * sentences and len(found) < 16 * 40:
        drawn = model.generate(
            start, do_sample=True, temperature=0.7, top_k=50, max_new_tokens=250,
            attention_mask=torch.ones_like(start), pad_token_id=int(start[0, 0]),
            eos_token_id=int(start[0, 0]),
        )  # fmt: skip
        found += [str(tokenizer.decode(each.tolist())) for each in drawn]
    return found


if __name__ == "__main__":
    main()
