"""Filters: which sentences may be answers, which subjects may be asked about.

A wrong question costs more than a missing one, because the model learns from few; the filters
would rather drop. Word lists are English; texts in other languages still give questions from
headings and titles.
"""

from __future__ import annotations

import re

from undercroft.annotate.structure import CLOSERS, OPENERS

MIN_ANSWER_WORDS = 5
MAX_ANSWER_WORDS = 40  # about 60 tokens, which a small model copies without losing its place
MAX_SUBJECT_WORDS = 7
MAX_CLAUSE_WORDS = 16


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DANGLING = _words(
    """
    this that these those it its they them their he she his her such so thus hence however
    therefore also then otherwise instead but and or because which both neither either here
    there see note similarly conversely likewise again above below following another for
    """
)
_NOT_A_NAME = _DANGLING | _words(
    """
    if when while as since after before in at on by with unless until once although though
    whether depending among will would may might must can could should is are was were to of
    always never usually often generally normally currently
    """
)
_GENERIC = _words(
    """
    the an function method class module object objects argument arguments parameter parameters
    value values result results return default type types name names example examples string
    list note notes option options way case cases data file files item items user one ones
    rest same other others first second last next previous latter former current given new
    old introduction overview summary description usage background details reference
    references contents table index appendix license licence changelog todo footnotes
    conclusion abstract author authors following section chapter page document documentation
    what when where why how who if something anything everything nothing none there here
    most some many all any each every only no additional optional remaining returned output
    input themselves itself keyword resulting corresponding specified whole both number
    numbers int str bool
    """
)
_PLACEHOLDER = re.compile(r"\[[A-Z_]{3,}(?:_\d+)?\]|<[A-Z_]{3,}>|�")
_MARKUP = re.compile(r"[|{}]|::|>>>|</?\w+>|!\[|\]\(|https?://|={2,}|-{3,}|_{3,}|\\\\")
_WORD = re.compile(r"[^\W_]+")
_PAIRS = (("(", ")"), ("[", "]"), ("“", "”"))


def is_answer(sentence: str) -> bool:
    """Whether ``sentence`` reads as a complete statement in prose."""
    words = sentence.split()
    if not MIN_ANSWER_WORDS <= len(words) <= MAX_ANSWER_WORDS:
        return False
    if not sentence.rstrip(CLOSERS).endswith((".", "!")) or sentence.endswith("..."):
        return False
    first = sentence.lstrip(OPENERS)[:1]
    if not (first.isupper() or first.isdigit() or sentence[:1] in "\"“`'") or not first:
        return False
    if _MARKUP.search(sentence) or _PLACEHOLDER.search(sentence):
        return False
    if any(sentence.count(left) != sentence.count(right) for left, right in _PAIRS):
        return False
    letters = sum(character.isalpha() or character.isspace() for character in sentence)
    return sentence.count('"') % 2 == 0 and letters >= 0.78 * len(sentence)


def stands_alone(sentence: str) -> bool:
    """Whether ``sentence`` can be understood without the one before it."""
    return first_word(sentence) not in _DANGLING


def is_subject(subject: str, *, clause: bool = False) -> bool:
    """Whether ``subject`` names one particular thing that a question can be about.

    A ``clause`` ("the file is closed") may be longer than a name.
    """
    words = [word.lower() for word in _WORD.findall(subject)]
    longest = MAX_CLAUSE_WORDS if clause else MAX_SUBJECT_WORDS
    if not words or len(subject.split()) > longest or len(subject) > 110:
        return False
    if (
        words[0] in (_DANGLING if clause else _NOT_A_NAME)
        or _MARKUP.search(subject)
        or _PLACEHOLDER.search(subject)
    ):
        return False
    telling = [word for word in words if word not in _GENERIC and len(word) > 1]
    letters = sum(character.isalpha() for character in subject)
    balanced = all(subject.count(left) == subject.count(right) for left, right in _PAIRS)
    balanced = balanced and subject.count('"') % 2 == 0 and subject.count("`") % 2 == 0
    return bool(telling) and balanced and letters >= 0.6 * len(subject)


def first_word(text: str) -> str:
    """The first word of ``text`` in lower case, without quotes or marks."""
    match = _WORD.search(text)
    return match[0].lower() if match else ""


def key_of(question: str) -> str:
    """What two questions share when they ask the same: letters and digits, lower case."""
    return " ".join(_WORD.findall(question.lower()))


def content_words(text: str) -> set[str]:
    """The telling words of ``text``, lower case."""
    return {
        word
        for word in (found.lower() for found in _WORD.findall(text))
        if len(word) > 2 and word not in _GENERIC and word not in _STOP
    }


_STOP = _words(
    """
    the and for are was were does did has have had not can could should would will may might
    must with into from about that this these those than then used use says say tell explain
    describe mean happens work works purpose documents according which your you
    """
)
