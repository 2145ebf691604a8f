"""The one prompt that training, evaluation and serving share.

A model is judged and served on exactly the text it was trained on, so nobody else writes a
prompt. Its texts are a `Template`: the default's, or those of the project's artifact
``prompt:NAME``. Passages are numbered from 1 in the order given; the question comes last because
a small model follows what it read most recently.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from undercroft.errors import BadInput
from undercroft.records import Passage

REFUSAL = "The documents do not say."

#: Characters of passage text shown at most: about 800 tokens of English or code, so that prompt
#: and answer fit both a training example (1,024 tokens) and the engine's context (2,048).
PASSAGE_CHARACTERS = 2800
QUESTION_CHARACTERS = 2000

# `list[1]` and `f(x)[0][1]` are code: a run of citations follows a space or a full stop.
_CITATIONS = re.compile(r"(?<![\w\])])(?:\[\d{1,2}(?:\s*,\s*\d{1,2})*\])+")
_NUMBER = re.compile(r"\d+")
_CONTROL = re.compile(r"<(?=\|)")
_PLACE = re.compile(r"\{(\w+)\}")

#: What each text of a template must have in it, and what it may.
_PLACES: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "system": (frozenset(), frozenset({"title", "refusal"})),
    "passage": (frozenset({"number", "text"}), frozenset({"title"})),
    "nothing": (frozenset(), frozenset()),
    "question": (frozenset({"question"}), frozenset()),
    "refusal": (frozenset(), frozenset()),
}


@dataclass(frozen=True)
class Template:
    """The texts of a prompt about the documents called ``title``, with ``{places}`` in them.

    ``nothing`` stands where no passage was found, ``refusal`` is the answer where the passages
    hold none. Raises `BadInput` for a text that lacks a place or has one that is not filled.
    """

    title: str
    system: str = (
        "You answer questions about {title} from the numbered passages. "
        "Answer in the passages' own words and cite the passage like [1]. "
        "If the passages do not hold the answer, say: {refusal}"
    )
    passage: str = "[{number}] {title}\n{text}"
    nothing: str = "(no passages)"
    question: str = "Question: {question}"
    refusal: str = REFUSAL

    def __post_init__(self) -> None:
        for name, (needed, allowed) in _PLACES.items():
            found = set(_PLACE.findall(getattr(self, name)))
            if needed - found:
                missing = ", ".join(f"{{{place}}}" for place in sorted(needed - found))
                raise BadInput(f"The text {name!r} of the prompt lacks {missing}.", do="Add it.")
            if found - needed - allowed:
                places = ", ".join(f"{{{place}}}" for place in sorted(needed | allowed)) or "none"
                raise BadInput(
                    f"The text {name!r} of the prompt has {{{min(found - needed - allowed)}}}.",
                    f"Nothing is put there; it may have: {places}.",
                    "Take it out or name another.",
                )
        if not self.refusal.strip():
            raise BadInput("The text 'refusal' of the prompt is empty.", do="Write one.")

    @property
    def texts(self) -> dict[str, str]:
        """All but the title: what the artifact keeps."""
        return {name: text for name, text in asdict(self).items() if name != "title"}

    @property
    def fingerprint(self) -> str:
        """The title and, of a template other than the default, a digest of its texts."""
        if self == Template(self.title):
            return self.title
        texts = json.dumps(self.texts, sort_keys=True).encode()
        return f"{self.title} {hashlib.sha256(texts).hexdigest()[:16]}"

    @classmethod
    def of(cls, title: str, texts: Mapping[str, Any]) -> Template:
        """The template of ``texts``; what is not among them is the default's. Raises `BadInput`."""
        unknown = sorted(texts.keys() - _PLACES.keys())
        if unknown:
            raise BadInput(
                f"A prompt has no text {unknown[0]!r}.", f"It has: {', '.join(_PLACES)}."
            )
        return cls(title, **{name: str(text) for name, text in texts.items()})


def template_of(asked: str | Template) -> Template:
    """``asked`` itself, or the default template about documents called so."""
    return asked if isinstance(asked, Template) else Template(asked)


def messages(
    question: str,
    passages: Sequence[Passage],
    template: str | Template,
    characters: int = PASSAGE_CHARACTERS,
) -> list[dict[str, str]]:
    """The chat messages (system, user) that ask ``question`` over ``passages``.

    ``template`` may be the title of the documents alone. Passages longer together than
    ``characters`` are cut, the longest first and at a line or sentence end where one is near.
    Chat-template control tokens (``<|…|>``) in documents and questions are defused, so that a
    document cannot end its turn.
    """
    shown = _fit([_defuse(passage.text.strip()) for passage in passages], characters)
    texts = template_of(template)
    blocks = [
        _filled(
            texts.passage, number=str(number), title=_one_line(_defuse(passage.title)), text=text
        )
        for number, (passage, text) in enumerate(zip(passages, shown, strict=True), start=1)
    ]
    if not blocks:
        blocks = [texts.nothing]
    asked = _filled(texts.question, question=_defuse(question.strip())[:QUESTION_CHARACTERS])
    title = _one_line(_defuse(texts.title))
    return [
        {"role": "system", "content": _filled(texts.system, title=title, refusal=texts.refusal)},
        {"role": "user", "content": "\n\n".join([*filter(None, blocks), asked])},
    ]


def citations(answer: str) -> list[int]:
    """The passage numbers cited in ``answer``, each once, in the order they first appear."""
    numbers = (int(number) for run in _CITATIONS.findall(answer) for number in _NUMBER.findall(run))
    return list(dict.fromkeys(number for number in numbers if number > 0))


def _filled(wording: str, /, **values: str) -> str:
    return _PLACE.sub(lambda place: values[place[1]], wording)


def _fit(texts: list[str], characters: int) -> list[str]:
    """Cut ``texts`` so that they hold ``characters`` together; short ones stay whole."""
    limits = [0] * len(texts)
    left = characters
    for rank, position in enumerate(sorted(range(len(texts)), key=lambda i: len(texts[i]))):
        share = max(0, left) // (len(texts) - rank)
        limits[position] = min(len(texts[position]), share)
        left -= limits[position]
    return [_cut(text, limit) for text, limit in zip(texts, limits, strict=True)]


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    head = text[:limit]
    end = max(head.rfind("\n"), head.rfind(". ") + 1)
    return head[: end if end > limit * 3 // 4 else limit].rstrip()


def _defuse(text: str) -> str:
    return _CONTROL.sub("< ", text)


def _one_line(text: str) -> str:
    return " ".join(text.split())
