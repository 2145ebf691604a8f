"""Names of people and places in texts, by a spaCy pipeline that the settings name.

No rule finds names; a trained pipeline finds most and takes some other words for names. It is slow
(some 50 kB a second and core, of the small English one) and of one language, so it is off unless
``names`` under ``[curate]`` says which pipeline to use.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from undercroft.errors import BadConfig, MissingExtra
from undercroft.records import Finding

#: Kinds of finding by the labels of OntoNotes (English) and WikiNER (others).
KINDS: Final = {
    "PERSON": "name.person",
    "PER": "name.person",
    "GPE": "name.place",
    "LOC": "name.place",
    "FAC": "name.place",
}
_SCORE: Final = 0.8  # about the precision that small pipelines have on news
_PART_CHARS: Final = 20_000  # read at once: bounds the memory this takes
_UNUSED: Final = ("parser", "lemmatizer", "attribute_ruler", "tagger", "morphologizer", "senter")


@cache
def pipeline(model: str) -> Any:
    """The pipeline. Raises `MissingExtra` without spaCy and `BadConfig` without the pipeline."""
    try:
        import spacy
    except ImportError:
        raise MissingExtra("spaCy", "names") from None
    try:
        loaded = spacy.load(model)
    except OSError as error:
        raise BadConfig(
            f"[curate] names = {model!r} is no pipeline that is installed.",
            str(error).partition("\n")[0],
            f"Install it into this environment: pip install {model}",
        ) from None
    loaded.disable_pipes(*(name for name in _UNUSED if name in loaded.pipe_names))
    return loaded


def names(text: str, model: str) -> list[Finding]:
    """The names in ``text``, by position."""
    parts = list(_parts(text))
    docs = pipeline(model).pipe(part for _, part in parts)
    return [
        Finding(KINDS[name.label_], at + name.start_char, at + name.end_char, _SCORE, model)
        for (at, _), doc in zip(parts, docs, strict=True)
        for name in doc.ents
        if name.label_ in KINDS
    ]


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """``text`` cut at line ends where it is long, with where each part begins."""
    at = 0
    while at < len(text):
        end = len(text)
        if end - at > _PART_CHARS:
            line = text.rfind("\n", at, at + _PART_CHARS)
            end = line + 1 if line > at else at + _PART_CHARS
        yield at, text[at:end]
        at = end
