"""Pretraining by our loop against others, on the same rows from the same first weights.

python -m benchmarks.pretrain [--rounds 5] [--steps 12] [--peer plain]

A Llama of 9.4 million parameters learns the Python language reference in bf16. The peer ``plain``
is the shortest loop that does the work, as nanoGPT's reads (`peers/plain_loop.py`): it lets
documents in a row see each other, logs nothing and could not go on after a crash; ``nanogpt`` is
the same in the precision that nanoGPT takes on a CPU, float32 (its train.py has no autocast there;
ours stays in bf16, and must learn as much); ``litgpt`` is
litgpt's own loop and model (`peers/litgpt_loop.py`), ``litgpt-compiled`` the same with its model
compiled, the time for which is left out and told beside it. Ours is not compiled. Equal loss: of
pages that neither read, each page read alone, ours may be at most 2 % above the peer's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np

from benchmarks.compare import (
    PEERS,
    Result,
    environment,
    in_turn,
    peer_environment,
    spread,
    table,
)
from undercroft.jobs import WORKER_ENVIRONMENT
from undercroft.settings import PretrainSettings
from undercroft.train.models import folders, scratch
from undercroft.train.samples import corpus, tokenizing
from undercroft.train.samples.data import Sampler
from undercroft.train.samples.packing import Packed, pack

PAGE_CHARS = 1500
HELD_OUT = 24
LITGPT = ["torch==2.13.0", "litgpt==0.5.13"]
MOST_LOSS_RATIO = 1.02


def main() -> None:
    parser = argparse.ArgumentParser(description="Our pretraining loop against a plain one.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--peer", default="plain", choices=PEER_LOOPS)
    options = parser.parse_args()
    params = PretrainSettings(
        layers=5, width=384, heads=6, kv_heads=2, vocabulary=4096, context=256, batch_size=8,
        micro_batch_size=8, max_steps=options.steps, learning_rate=2e-3, checkpoint_seconds=1e6,
        optimizer="adamw",  # as the peers
    )  # fmt: skip
    texts = pages()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = _prepare(folder, texts[HELD_OUT:], params)
        sides = {
            "ours": lambda: _ours(folder, params),
            "peer": lambda: PEER_LOOPS[options.peer](folder, params),
        }
        found = in_turn(options.rounds, sides)
        losses = {
            side: held_out_loss(folder / side, tokenizer, texts[:HELD_OUT], params)
            for side in ("base", *sides)
        }
    _report(found, losses, options.peer, options.steps)


def pages() -> list[str]:
    """The language reference in pieces of a page and less, in an order of no meaning."""
    whole = [topics[name] for name in sorted(topics)]
    cut = [
        text[at : at + PAGE_CHARS - 40 * (number % 30)]
        for number, text in enumerate(whole)
        for at in range(0, len(text), PAGE_CHARS)
    ]
    order = np.random.default_rng(20).permutation(len(cut))
    return [cut[at] for at in order if len(cut[at]) > 80]


def _prepare(folder: Path, texts: Sequence[str], params: PretrainSettings) -> Any:
    """The first weights, our corpus, and the same rows in the same order for the peer."""
    tokenizer = tokenizing.learn(texts, params.vocabulary)
    tokenizing.save(tokenizer, folder / "corpus" / "tokenizer", params.context)
    tokens = list(tokenizing.marked(tokenizer, list(texts)))
    np.concatenate(tokens).astype(np.uint32).tofile(folder / "corpus" / "tokens.bin")
    offsets = np.cumsum([0, *map(len, tokens)]).tolist()
    record = {"documents": [str(n) for n in range(len(texts))], "offsets": offsets}
    (folder / "corpus" / "documents.json").write_text(json.dumps(record))
    shape = scratch.shape_of(params, params.vocabulary)
    model = scratch.build(shape, "bf16", params.seed, tokenizing.special_ids(tokenizer))
    _, _, hugging_face = corpus.read(folder / "corpus")
    folders.save(model, hugging_face, folder / "base")
    _write_rows(rows_of(folder / "corpus", params), params, folder / "rows.npz")
    return tokenizer


def rows_of(folder: Path, params: PretrainSettings) -> Packed:
    """What both sides read: whole samples only, so that their batches are the same."""
    read, _, _ = corpus.read(folder)
    packed = pack(read, params.context, params.micro_batch_size, params.seed)
    whole = packed.num_rows // params.micro_batch_size * params.micro_batch_size
    return replace(packed, firsts=packed.firsts[: whole + 1])


def _write_rows(packed: Packed, params: PretrainSettings, file: Path) -> None:
    rows = []
    sampler = Sampler(len(packed), params.seed)
    while len(rows) < params.max_steps * params.batch_size:
        rows += packed[next(sampler)]
    tokens = np.zeros((len(rows), params.context), np.int64)
    labels = np.full((len(rows), params.context), -1, np.int64)
    for number, row in enumerate(rows):
        read = np.concatenate([span.tokens[:-1] for span in row])
        tokens[number, : len(read)] = read
        labels[number, : len(read)] = np.concatenate([span.tokens[1:] for span in row])
    np.savez(file, tokens=tokens, labels=labels)


def _ours(folder: Path, params: PretrainSettings) -> dict[str, Any]:
    words = [folder / "base", folder / "corpus", params.model_dump_json(), folder / "ours"]
    return _timed(sys.executable, "-m", "benchmarks.pretrain_ours", *words)


def _plain(folder: Path, params: PretrainSettings, precision: str = "bf16") -> dict[str, Any]:
    numbers = [params.max_steps, params.batch_size, params.micro_batch_size, params.learning_rate]
    script = Path(__file__).parent / "peers" / "plain_loop.py"
    files = [folder / "base", folder / "rows.npz"]
    return _timed(sys.executable, script, *files, *numbers, folder / "peer", precision)


def _litgpt(folder: Path, params: PretrainSettings, compiled: int = 0) -> dict[str, Any]:
    python = peer_environment("litgpt", LITGPT) / "python"
    script = Path(__file__).parent / "peers" / "litgpt_loop.py"
    numbers = [params.max_steps, params.micro_batch_size, params.learning_rate]
    files = [folder / "base", folder / "rows.npz"]
    return _timed(python, script, *files, *numbers, folder / "peer", compiled)


PEER_LOOPS: dict[str, Callable[[Path, PretrainSettings], dict[str, Any]]] = {
    "plain": _plain,
    "nanogpt": partial(_plain, precision="fp32"),
    "litgpt": _litgpt,
    "litgpt-compiled": partial(_litgpt, compiled=1),
}


def _timed(*words: object) -> dict[str, Any]:
    PEERS.mkdir(exist_ok=True)
    done = subprocess.run(
        list(map(str, words)), check=True, capture_output=True, text=True,
        env={**environment(), **WORKER_ENVIRONMENT},
    )  # fmt: skip
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def held_out_loss(
    folder: Path, tokenizer: Any, texts: Sequence[str], params: PretrainSettings
) -> float:
    """Mean loss of a token of ``texts``, each read alone, by the model in ``folder``."""
    import torch
    from torch.nn import functional
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for tokens in tokenizing.marked(tokenizer, list(texts)):
            ids = torch.tensor([tokens[: params.context + 1]])
            logits = model(input_ids=ids[:, :-1], use_cache=False).logits[0]
            total += float(functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
            count += ids.shape[1] - 1
    return total / count


def _report(
    found: Mapping[str, Sequence[Mapping[str, Any]]],
    losses: Mapping[str, float],
    peer: str,
    steps: int,
) -> None:
    rates = {
        side: [each["tokens"] / each["seconds"] for each in runs] for side, runs in found.items()
    }
    ratios = [ours / peer for ours, peer in zip(rates["ours"], rates["peer"], strict=True)]
    rows = [
        [side, statistics.median(rates[side]), spread(rates[side]), found[side][0]["tokens"],
         losses[side]]
        for side in rates
    ]  # fmt: skip
    print(table(["side", "tokens/s", "spread", "tokens", "held-out loss"], rows))
    print("ratios", ", ".join(f"{ratio:.2f}" for ratio in ratios))
    on_cpu = [
        theirs["cpu_seconds"] / ours["cpu_seconds"]
        for ours, theirs in zip(found["ours"], found["peer"], strict=True)
    ]
    quality = {
        "loop": peer,
        "steps": steps,
        "untimed_s": [each.get("first_s", 0.0) for each in found["peer"]],
        "spread_of_ratios": spread(ratios),
        "cpu_ratio": statistics.median(on_cpu),
        "loss_before": losses["base"],
        "loss_ours": losses["ours"],
        "loss_peer": losses["peer"],
        "equal": losses["ours"] <= MOST_LOSS_RATIO * losses["peer"],
    }
    Result(
        "pretrain",
        statistics.median(rates["ours"]),
        statistics.median(rates["peer"]),
        statistics.median(ratios),
        "tokens/s",
        quality,
    ).print()


if __name__ == "__main__":
    main()
