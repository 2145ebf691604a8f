"""The order of the passages that a search found, and which of them say the same.

A search scores a chunk as a whole; which of the first few it is depends on details. `reranked`
looks at the best candidates alone and weighs what it sees: how much of the question the passage
holds, whether it names what the question names, whether it is the beginning of its document, and
the search's own score. The weights were learnt by `benchmarks.retrieval` (logistic regression on
pairs of a right and a wrong passage) from questions about half of the example's source files; the
other half judged them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from undercroft.records import Passage

#: Candidates that are looked at.
DEPTH: Final = 10
#: Share of words from which two passages say the same.
SAME: Final = 0.9

FEATURES: Final = ("score", "coverage", "head_coverage", "names", "first", "length")
WEIGHTS: Final = (1.0, 1.03, 0.09, 0.33, 0.20, 0.28)

_FULL_LENGTH: Final = 900
_HEAD_CHARACTERS: Final = 300
_WORD = re.compile(r"[^\W_]+")
_NAME = re.compile(r"\w+(?:\.\w+)+|\w+_\w+|\b[a-z]+[A-Z]\w*|\w+(?=\(\))")
_HEADING = re.compile(r"#+ (.*)")
_ASKING: Final = frozenset({
    "a", "an", "the", "of", "to", "how", "does", "do", "did", "what", "which", "are", "was", "were",
    "be", "is", "it", "its", "i", "me", "my", "you", "your", "we", "can", "could", "should",
    "would", "tell", "about", "for", "in", "on", "and", "or", "if", "when", "happens", "describe",
    "explain", "work", "works", "mean", "means",
})  # fmt: skip


def reranked(question: str, passages: Sequence[Passage]) -> list[Passage]:
    """``passages`` with the best of the first `DEPTH` first; their scores stay the search's."""
    looked_at = passages[:DEPTH]
    scores = [
        sum(weight * value for weight, value in zip(WEIGHTS, values, strict=True))
        for values in features(question, looked_at)
    ]
    order = sorted(range(len(looked_at)), key=lambda at: (-scores[at], at))
    return [*(looked_at[at] for at in order), *passages[DEPTH:]]


def features(question: str, passages: Sequence[Passage]) -> list[tuple[float, ...]]:
    """What is seen of each passage, in the order of `FEATURES`."""
    words = _words(question)
    names = [name.lower() for name in _NAME.findall(question)]
    found: list[tuple[float, ...]] = []
    for passage in passages:
        head = _head(passage)
        head_words = _words(head)
        whole = f"{passage.title}\n{passage.text}".lower()
        found.append(
            (
                passage.score,
                _share(words, head_words | _words(passage.text)),
                _share(words, head_words),
                sum(name in whole for name in names) / max(1, len(names)),
                float(passage.start == 0),
                min(1.0, len(passage.text) / _FULL_LENGTH),
            )
        )
    return found


def distinct(passages: Sequence[Passage], count: int) -> list[Passage]:
    """The first ``count`` of ``passages`` that do not say what one before them says."""
    kept: list[tuple[Passage, set[str]]] = []
    for passage in passages:
        if len(kept) == count:
            break
        words = set(_WORD.findall(passage.text.lower()))
        if all(len(words & other) < SAME * len(words | other) for _, other in kept):
            kept.append((passage, words))
    return [passage for passage, _ in kept]


def _head(passage: Passage) -> str:
    """The title, and the first heading at the top of the passage."""
    found = _HEADING.search(passage.text[:_HEAD_CHARACTERS])
    return f"{passage.title} {found[1]}" if found else passage.title


def _words(text: str) -> set[str]:
    return {word for word in _WORD.findall(text.lower()) if word not in _ASKING}


def _share(these: set[str], those: set[str]) -> float:
    return len(these & those) / max(1, len(these))
