"""What is measured about one answer. Pure functions of text; every score is between 0 and 1."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence

from undercroft.records import Example, Passage
from undercroft.retrieve.prompt import REFUSAL, citations

_CITATION = re.compile(r"\s*\[\d{1,2}(?:\s*,\s*\d{1,2})*\]")
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_WORD = re.compile(r"\w+|[^\w\s]")

GROUNDING_N = 3
REPETITION_N = 4
#: A refusal may be followed by a few words, but not by an answer.
REFUSAL_EXTRA_WORDS = 8


def without_citations(text: str) -> str:
    """``text`` without marks such as [1] or [1, 2], which `citation_accuracy` judges."""
    return _CITATION.sub("", text).strip()


def normalise(text: str) -> list[str]:
    """Words compared by F1: SQuAD's normalisation (lower case, no punctuation, no articles;
    Rajpurkar et al. 2016, evaluate-v1.1.py), after citations are removed."""
    lowered = without_citations(text).lower().translate(_PUNCTUATION)
    return _ARTICLE.sub(" ", lowered).split()


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall over the bags of normalised words (SQuAD)."""
    ours, theirs = normalise(answer), normalise(reference)
    if not ours or not theirs:
        return float(ours == theirs)
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs))


def groundedness(answer: str, passages: Sequence[Passage], refusal: str = REFUSAL) -> float:
    """Share of the answer's word trigrams that stand in the passages shown with it.

    Each trigram counts at most as often as one passage has it (the clipping of BLEU, Papineni et
    al. 2002), so a loop over a true sentence scores low; words the model adds of its own break the
    trigrams around them. Answers under three words are compared as a whole; an empty answer and a
    refusal rest on nothing and score 0.
    """
    words = _words(without_citations(answer))
    if not words or is_refusal(answer, refusal):
        return 0.0
    size = min(GROUNDING_N, len(words))
    said = Counter(_ngrams(words, size))
    shown: Counter[tuple[str, ...]] = Counter()
    for passage in passages:
        shown |= Counter(_ngrams(_words(passage.text), size))
    return sum((said & shown).values()) / sum(said.values())


def citation_accuracy(answer: str, passages: Sequence[Passage], case: Example) -> float:
    """Share of the passages cited that hold the answer; 0 when none is cited."""
    cited = citations(answer)
    if not cited:
        return 0.0
    right = sum(
        1 for number in cited if number <= len(passages) and holds(passages[number - 1], case)
    )
    return right / len(cited)


def holds(passage: Passage, case: Example) -> bool:
    """Whether ``passage`` overlaps the span that the reference was taken from, or says it too."""
    overlaps = (
        passage.document == case.source_document
        and passage.start < case.source_end
        and passage.end > case.source_start
    )
    return overlaps or " ".join(normalise(case.answer)) in " ".join(normalise(passage.text))


def is_refusal(answer: str, refusal: str = REFUSAL) -> bool:
    """Whether ``answer`` begins by saying that the documents do not say, and then says no more."""
    words, wanted = normalise(answer), normalise(refusal)
    return words[: len(wanted)] == wanted and len(words) <= len(wanted) + REFUSAL_EXTRA_WORDS


def repetition(answer: str) -> float:
    """Share of the answer's word 4-grams that it has said before (Welleck et al. 2020, seq-rep-4);
    0 for answers too short to have two."""
    grams = list(_ngrams(_words(answer), REPETITION_N))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def gold_rank(passages: Sequence[Passage], case: Example) -> int | None:
    """1-based rank of the first passage that holds the answer, or None."""
    ranks = (rank for rank, passage in enumerate(passages, start=1) if holds(passage, case))
    return next(ranks, None)


def _words(text: str) -> list[str]:
    """Words and punctuation marks in lower case; in code the marks are what matters."""
    return _WORD.findall(text.lower())


def _ngrams(words: Sequence[str], size: int) -> Iterable[tuple[str, ...]]:
    return (tuple(words[at : at + size]) for at in range(len(words) - size + 1))
