"""The one prompt that training, evaluation and serving share.

A model is judged and served on exactly the text it was trained on, so nobody else writes a
prompt. Passages are numbered from 1 in the order given; the question comes last because a small
model follows what it read most recently.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from undercroft.records import Passage

REFUSAL = "The documents do not say."

#: Characters of passage text shown at most: about 800 tokens of English or code, so that prompt
#: and answer fit both a training example (1,024 tokens) and the engine's context (2,048).
PASSAGE_CHARACTERS = 2800
QUESTION_CHARACTERS = 2000

_SYSTEM = (
    "You answer questions about {title} from the numbered passages. "
    "Answer in the passages' own words and cite the passage like [1]. "
    f"If the passages do not hold the answer, say: {REFUSAL}"
)
# `list[1]` and `f(x)[0][1]` are code: a run of citations follows a space or a full stop.
_CITATIONS = re.compile(r"(?<![\w\])])(?:\[\d{1,2}(?:\s*,\s*\d{1,2})*\])+")
_NUMBER = re.compile(r"\d+")
_CONTROL = re.compile(r"<(?=\|)")


def messages(
    question: str,
    passages: Sequence[Passage],
    title: str,
    characters: int = PASSAGE_CHARACTERS,
) -> list[dict[str, str]]:
    """The chat messages (system, user) that ask ``question`` over ``passages``.

    ``title`` names what the documents are about. Passages longer together than ``characters``
    are cut, the longest first and at a line or sentence end where one is near. Chat-template
    control tokens (``<|…|>``) in documents and questions are defused, so that a document cannot
    end its turn.
    """
    shown = _fit([_defuse(passage.text.strip()) for passage in passages], characters)
    blocks = [
        f"[{number}] {_one_line(_defuse(passage.title))}\n{text}"
        for number, (passage, text) in enumerate(zip(passages, shown, strict=True), start=1)
    ]
    if not blocks:
        blocks = ["(no passages)"]
    asked = _defuse(question.strip())[:QUESTION_CHARACTERS]
    return [
        {"role": "system", "content": _SYSTEM.format(title=_one_line(_defuse(title)))},
        {"role": "user", "content": "\n\n".join([*blocks, f"Question: {asked}"])},
    ]


def citations(answer: str) -> list[int]:
    """The passage numbers cited in ``answer``, each once, in the order they first appear."""
    numbers = (int(number) for run in _CITATIONS.findall(answer) for number in _NUMBER.findall(run))
    return list(dict.fromkeys(number for number in numbers if number > 0))


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
