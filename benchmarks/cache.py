"""What the caches give again: how fast, and how often wrongly.

    python -m benchmarks.cache [--seconds 3] [--pairs-only | --hits-only]

The first part has sides decide whether one answer does for two questions: our rules over
static vectors, and plain cosine above a threshold as GPTCache decides (its default 0.8, and the
threshold that is most precise on the pairs it was chosen on), with the static vectors and with
MiniLM's own. The questions are `benchmarks.questions.pairs`; thresholds come from its part ``dev``,
figures from ``test``. The second part asks one question again and again through a gateway on one
core: exact hits from memory, a second and by processor time; and in this process, a look among
1,000 questions by meaning. ``--hits-only`` takes a quarter of a minute, the whole about two.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks import load, sides
from benchmarks.compare import Result, table
from benchmarks.questions.pairs import Pair, pairs
from benchmarks.sides import Duty
from undercroft.retrieve import Embedder
from undercroft.retrieve.distil import locate
from undercroft.retrieve.shelf import distil_or_reuse
from undercroft.serve.caches import sense
from undercroft.serve.caches.alike import LEAST_COSINE, Alike
from undercroft.serve.caches.cache import Answer, Cache, key_of
from undercroft.serve.wire.asks import Ask, parse_chat
from undercroft.serve.wire.pieces import Piece, Usage
from undercroft.settings import SamplingSettings

EMBEDDING, DIMENSIONS = "all-MiniLM-L6-v2", 256
GPTCACHE_THRESHOLD = 0.8  # gptcache/config.py, similarity_threshold
CONNECTIONS = 16
NUM_KEPT = 1000

Encode = Callable[[Sequence[str]], Any]


@dataclass(frozen=True)
class Verdicts:
    """What one side said of pairs of which it is known whether one answer does for both."""

    name: str
    right_hits: int
    wrong_hits: int
    paraphrases: int

    @property
    def precision(self) -> float:
        hits = self.right_hits + self.wrong_hits
        return self.right_hits / hits if hits else 1.0

    @property
    def recall(self) -> float:
        return self.right_hits / self.paraphrases


def judge(name: str, asked: Sequence[Pair], hits: Sequence[bool]) -> Verdicts:
    said = list(zip(asked, hits, strict=True))
    return Verdicts(
        name,
        sum(hit and pair.same for pair, hit in said),
        sum(hit and not pair.same for pair, hit in said),
        sum(pair.same for pair in asked),
    )


def cosines(asked: Sequence[Pair], encode: Encode) -> Any:
    texts = sorted({text for pair in asked for text in (pair.one, pair.other)})
    vectors = dict(zip(texts, encode(texts), strict=True))
    return np.array([float(vectors[pair.one] @ vectors[pair.other]) for pair in asked])


def best_threshold(asked: Sequence[Pair], found: Any) -> float:
    """The cosine from which most hits are right, with at least a twentieth of the paraphrases."""
    judged = [(judge("", asked, found >= each), float(each)) for each in np.arange(0.7, 1.0, 0.005)]
    return max((one.precision, at) for one, at in judged if one.recall >= 0.05)[1]


def by_rules(asked: Sequence[Pair], found: Any) -> list[bool]:
    return [
        bool(cosine >= LEAST_COSINE)
        and not sense.conflict(sense.read(pair.one), sense.read(pair.other))
        for pair, cosine in zip(asked, found, strict=True)
    ]


def minilm(texts: Sequence[str]) -> Any:
    """MiniLM's own sentence vectors: the mean of its last layer (its model card), of length 1."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(locate(EMBEDDING))
    model, found = AutoModel.from_pretrained(locate(EMBEDDING)).eval(), []
    with torch.inference_mode():
        for at in range(0, len(texts), 64):
            batch = tokenizer(list(texts[at : at + 64]), padding=True, return_tensors="pt")
            mask = batch["attention_mask"][..., None]
            means = (model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
            found.append(torch.nn.functional.normalize(means, dim=1))
    return torch.cat(found).numpy()


def measure_pairs(embedder: Embedder) -> list[Verdicts]:
    dev, test = pairs("dev"), pairs("test")
    ours = cosines(test, embedder.encode)
    found = [judge("undercroft", test, by_rules(test, ours))]
    for name, encode in (("static", embedder.encode), ("MiniLM", minilm)):
        on_test = cosines(test, encode)
        chosen = best_threshold(dev, cosines(dev, encode))
        for threshold in (GPTCACHE_THRESHOLD, round(chosen, 3)):
            hits = (on_test >= threshold).tolist()
            found.append(judge(f"cosine {name} >= {threshold}", test, hits))
    return found


def asking(question: str) -> Ask:
    body = {"model": "docs", "messages": [{"role": "user", "content": question}]}
    return parse_chat(msgspec.json.encode(body), SamplingSettings())


def look_us(embedder: Embedder) -> float:
    """Median microseconds to look for a question among `NUM_KEPT`, its vector included."""
    cache = Cache(NUM_KEPT)
    alike = Alike("on", NUM_KEPT, cache)
    texts = sorted({text for pair in pairs("dev") for text in (pair.one, pair.other)})
    kept = [f"{text} ({number})" for number in range(4) for text in texts][:NUM_KEPT]
    for text in kept:
        ask = asking(text)
        key = key_of(ask)
        cache._keep(str(key), Answer((Piece(text, "stop", Usage()),)))
        alike.keep(alike.asked(ask, embedder), key, text)
    times = []
    for text in texts[:300]:
        ask = asking(text)
        began = time.perf_counter()
        alike.find(alike.asked(ask, embedder))
        times.append((time.perf_counter() - began) * 1e6)
    return statistics.median(times)


def measure_hits(seconds: float) -> dict[str, dict[str, float]]:
    """Exact hits through a gateway on one core, by what else it does: a second, a second of its
    processor time (what others do on the machine leaves that alone), and their median
    milliseconds one by one."""
    found: dict[str, dict[str, float]] = {}
    duties: tuple[Duty, ...] = ("bare", "governed", "screened")
    for duty in duties:
        with tempfile.TemporaryDirectory() as name, sides.direct(Path(name)) as upstream:
            url = f"http://127.0.0.1:{upstream.port}"
            with sides.ours(Path(name), url, duty, cache_entries=NUM_KEPT) as side, sides.pinned():
                asked = _Again(side.name, side.port, side.headers, side.model, side.pid)
                alone = statistics.median(load.one_by_one(asked, 300)) * 1000
                load.at_once(asked, CONNECTIONS, 1.0)
                many = load.at_once(asked, CONNECTIONS, seconds)
        found[duty] = {
            "per_s": round(many.rate, 1),
            "per_cpu_s": round(1e6 / many.processor_us, 1),
            "us": round(many.processor_us, 1),
            "alone_ms": round(alone, 3),
        }
    return found


def show_hits(found: dict[str, dict[str, float]]) -> None:
    rows = [[duty, *each.values()] for duty, each in found.items()]
    print(table(["exact hits", "a second", "a CPU second", "µs each", "alone, ms"], rows) + "\n")
    us = found["screened"]["per_cpu_s"]
    Result("cache", us, 0.0, 0.0, "exact hits a CPU second, with screens", found).print()


class _Again(sides.Side):
    """Asks what is answered the same every time."""

    def request(self, **fields: Any) -> bytes:
        return super().request(**{**fields, "temperature": 0})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--pairs-only", action="store_true")
    part.add_argument("--hits-only", action="store_true")
    given = parser.parse_args()
    if given.hits_only:
        show_hits(measure_hits(given.seconds))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "embedding"
        distil_or_reuse(EMBEDDING, DIMENSIONS, folder, lambda done, total: None)
        embedder = Embedder.load(folder)
    found = measure_pairs(embedder)
    print(
        table(
            ("", "precision", "recall", "right", "wrong"),
            [
                (each.name, f"{each.precision:.4f}", f"{each.recall:.3f}", str(each.right_hits),
                 str(each.wrong_hits))
                for each in found
            ],
        )
    )  # fmt: skip
    ours, peer = found[0], max(found[1:], key=lambda each: each.precision)
    quality: dict[str, Any] = {
        "pairs": len(pairs("test")),
        "recall": round(ours.recall, 3),
        "peer": peer.name,
        "peer_recall": round(peer.recall, 3),
        "look_us": round(look_us(embedder), 1),
    }
    if not given.pairs_only:
        quality["exact_hits"] = measure_hits(given.seconds)
    Result(
        name="cache",
        ours=round(ours.precision, 4),
        peer=round(peer.precision, 4),
        ratio=round(ours.precision / peer.precision, 2),
        unit="share of answers given again to another question that were right",
        quality=quality,
    ).print()


if __name__ == "__main__":
    main()
