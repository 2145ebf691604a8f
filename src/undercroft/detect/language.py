"""Text -> the language it is written in, or the admission that one cannot tell.

The classifier is py3langid (the naive Bayes over byte n-grams of langid.py, Lui and Baldwin
2012). It walks every byte in Python, so of a long text a few stretches are read, which decides
as well: what is sought is the language of the document.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from undercroft.errors import MissingExtra

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

UNKNOWN: Final = "und"  # ISO 639-2 for undetermined
_MIN_LETTERS: Final = 20
_MIN_CONFIDENCE: Final = 0.5
_STRETCHES: Final = 3
_STRETCH_CHARS: Final = 200


@cache
def _identifier() -> LanguageIdentifier | Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise MissingExtra("py3langid", "data") from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def language(text: str) -> tuple[str, float]:
    """The ISO 639-1 code of ``text``'s language and the probability of it, 0 to 1.

    ``und`` when the text has fewer than 20 letters or no language is more likely than all others
    together. Loading the model takes most of a second, once. Raises `MissingExtra`.
    """
    sample = _sample(text)
    if sum(map(str.isalpha, sample)) < _MIN_LETTERS:
        return UNKNOWN, 0.0
    code, confidence = _identifier().classify(sample)
    return (str(code) if confidence >= _MIN_CONFIDENCE else UNKNOWN), float(confidence)


def _sample(text: str) -> str:
    """Stretches from the beginning, the middle and the end; the whole of a short text."""
    if len(text) <= _STRETCHES * _STRETCH_CHARS:
        return text
    step = (len(text) - _STRETCH_CHARS) // (_STRETCHES - 1)
    return "\n".join(
        text[start : start + _STRETCH_CHARS] for start in (0, step, len(text) - _STRETCH_CHARS)
    )
