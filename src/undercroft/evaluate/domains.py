"""Held-out texts by domain, and how likely each of several models finds them.

Texts are cut into passages, the same for every model. Perplexities are per token of the first
model's tokenizer, for all of them, so that models with other tokenizers can be compared; where all
share one it is the perplexity that is meant elsewhere.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from undercroft.errors import BadInput, NotFound
from undercroft.evaluate.bootstrap import compare_perplexities
from undercroft.evaluate.causal import CausalModel
from undercroft.evaluate.forgetting import Floats, Loss, Matrix, in_order
from undercroft.project import Project
from undercroft.settings import EvaluateSettings

PASSAGE_CHARS = 1000
MIN_PASSAGE_CHARS = 40  # the end of a text that is shorter says little
_DATASET = "dataset:"
_TEXT_ENDINGS = (".txt", ".md", ".rst", ".py")
_JSON_LINES = ".jsonl"


@dataclass(frozen=True, slots=True)
class Domain:
    """``passages`` of held-out text."""

    name: str
    passages: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One model on all domains, passage by passage: [passages] of each domain in its order."""

    model: str
    nll: tuple[Floats, ...]
    right: tuple[Floats, ...]
    tokens: tuple[Floats, ...]


def domain(project: Project, name: str, source: str, most: int, seed: int) -> Domain:
    """Up to ``most`` passages, drawn by ``seed``, of a file, folder or dataset.

    Files are text, or JSON Lines with a ``text`` in each. Raises `NotFound` and `BadInput`.
    """
    read = texts_of(project, source)
    passages = list(dict.fromkeys(each for text in read for each in cut(text)))
    if not passages:
        raise BadInput(
            f"{source} holds no text to measure {name} on.",
            f"Passages of at least {MIN_PASSAGE_CHARS} characters are read.",
            f"Give text files, JSON Lines with a text in each, or {_DATASET}NAME.",
        )
    if len(passages) > most:
        draw = random.Random(f"{seed}:{name}")  # noqa: S311 - a sample, not secrecy
        passages = [passages[at] for at in sorted(draw.sample(range(len(passages)), most))]
    return Domain(name, tuple(passages))


def texts_of(project: Project, source: str) -> Iterator[str]:
    """The texts of a file, folder or dataset; raises as `domain` does."""
    return _of_dataset(project, source) if is_dataset(source) else _of_files(source)


def is_dataset(source: str) -> bool:
    return source.startswith(_DATASET)


def cut(text: str) -> Iterator[str]:
    """Passages of up to `PASSAGE_CHARS`, cut between words where there are any."""
    rest = text.strip()
    while len(rest) >= MIN_PASSAGE_CHARS:
        end = len(rest)
        if end > PASSAGE_CHARS:
            space = max(rest.rfind(mark, 0, PASSAGE_CHARS) for mark in " \n")
            end = space if space > PASSAGE_CHARS // 2 else PASSAGE_CHARS
        yield rest[:end]
        rest = rest[end:].strip()


def measure(
    model: CausalModel, domains: Sequence[Domain], done: Callable[[int], None] = lambda _: None
) -> Measured:
    """Ask ``model`` for every passage; ``done`` hears of each domain's number of passages."""
    nll, right, tokens = [], [], []
    for each in domains:
        scored = model.score([model.tokens(passage) for passage in each.passages])
        nll.append(np.array([one.nll for one in scored]))
        right.append(np.array([float(one.is_likeliest_t.sum()) for one in scored]))
        tokens.append(np.array([float(len(one.nll_t)) for one in scored]))
        done(len(each.passages))
    return Measured(model.name, tuple(nll), tuple(right), tuple(tokens))


def matrix(domains: Sequence[Domain], measured: Sequence[Measured]) -> Matrix:
    """Scores are the negative logarithms of perplexities: a loss of 0.1 is about 10 % more."""
    scores = np.array(
        [
            [-one.nll[j].sum() / measured[0].tokens[j].sum() for j in range(len(domains))]
            for one in measured
        ]
    )
    names = tuple(each.name for each in domains)
    learnt_by = in_order(len(measured), len(domains))
    return Matrix(tuple(one.model for one in measured), names, scores, learnt_by)


def accuracies(measured: Sequence[Measured]) -> list[list[float]]:
    """The share of each model's own tokens that it found likeliest, by model and domain."""
    return [
        [
            float(right.sum() / tokens.sum())
            for right, tokens in zip(one.right, one.tokens, strict=True)
        ]
        for one in measured
    ]


def losses(
    found: Matrix, measured: Sequence[Measured], settings: EvaluateSettings
) -> tuple[Loss, ...]:
    """The last model against the best before it, on each domain, with intervals over passages."""
    if len(measured) == 1:
        return ()
    told = []
    for j, name in enumerate(found.domains):
        best = int(found.scores[:-1, j].argmax())
        difference = compare_perplexities(
            measured[best].nll[j], measured[-1].nll[j], measured[0].tokens[j], settings
        )
        rise = difference.tuned / difference.base - 1
        told.append(Loss(name, found.models[best], rise, difference))
    return tuple(told)


def _of_dataset(project: Project, source: str) -> Iterator[str]:
    from undercroft.lake import read_dataset

    rows = read_dataset(project.lake, project.ledger.artifact(source), ["text"])
    yield from (text for text in rows["text"].to_pylist() if text)


def _of_files(source: str) -> Iterator[str]:
    path = Path(source).expanduser()
    if not path.exists():
        raise NotFound(
            f"There is no file or folder {source}.", do=f"Name one, or {_DATASET}NAME of a dataset."
        )
    if path.is_file():
        yield from _of_file(path)
        return
    for file in sorted(path.rglob("*")):
        if file.is_file() and file.suffix in (*_TEXT_ENDINGS, _JSON_LINES):
            yield from _of_file(file)


def _of_file(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix != _JSON_LINES:
        yield text
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield _text_of(line, path, number)


def _text_of(line: str, path: Path, number: int) -> str:
    try:
        record: Mapping[str, Any] = json.loads(line)
        return str(record["text"])
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(
            f"Line {number} of {path} has no text.",
            f"{type(error).__name__}: {error}.",
            'Each line is an object such as {"text": "…"}.',
        ) from error
