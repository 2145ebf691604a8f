"""A question that leans on the one before it -> what to search for.

``And on Windows?`` names nothing that an index could find. What is searched for is then the earlier
question with the new words in it. Rules, English; a question that stands by itself is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

#: Longest question, in words, that may lean on another without a word that says so.
SHORT: Final = 4
_MOST_WORDS: Final = 12
_WORD = re.compile(r"[\w.()'-]*\w[\w.()'-]*")
_OPENING = re.compile(
    r"^(?:and|but|or|so|also|then|ok(?:ay)?|what about|how about|what if|why not|really|same|"
    r"else|instead|otherwise|why(?=\W*$))\b[ ,]*",
    re.I,
)
_POINTING = re.compile(
    r"\b(?:it|its|it's|they|them|their|that|this|those|these|he|she|him|her|there|one|ones|"
    r"the (?:first|second|other|same|former|latter|last)(?: one)?|another|instead|else|too|also)\b",
    re.I,
)
_FRAGMENT = re.compile(
    r"^(?:with|without|for|in|on|at|after|before|by|from|to|above|below|under|over|during|as)\b",
    re.I,
)
_STANDING = re.compile(
    r"^(?:is|are|was|were|does|do|did|can|could|will|would|should|what|which|who|where|when|how|why|"
    r"explain|describe|define|name|list|tell)\b",
    re.I,
)
_POINTS_INSIDE = re.compile(
    r"\b(?:is|was|does|did|can|should|would) (?:it|there)\b.*\bto\b|\bthere (?:is|are)\b", re.I
)
_EMPTY: Final = frozenset(
    {
        "a", "an", "and", "about", "are", "be", "but", "can", "could", "did", "do", "does", "else",
        "for", "he", "her", "him", "how", "i", "in", "instead", "is", "it", "its", "it's", "me",
        "my", "of", "ok", "on", "one", "ones", "or", "really", "same", "she", "should", "so",
        "that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "to",
        "too", "was", "we", "were", "what", "when", "where", "which", "who", "why", "will", "with",
        "would", "you", "your", "not", "also", "example", "give", "show", "tell", "more", "mean",
        "explain", "thanks", "please", "another", "other",
    }
)  # fmt: skip


def standing_alone(question: str, earlier: Sequence[str]) -> str:
    """What to search for: ``question``, with the words of the newest of the ``earlier`` questions
    that stands by itself when it leans on that one."""
    if not leans(question):
        return question
    base = next((each for each in reversed(earlier) if not leans(each)), "")
    if not base:
        return question
    known = {word.lower() for word in _WORD.findall(base)}
    new = [
        word
        for word in _WORD.findall(_OPENING.sub("", question))
        if word.lower() not in _EMPTY and word.lower() not in known
    ]
    return " ".join([base, *new])


def leans(question: str) -> bool:
    """Whether ``question`` cannot be understood without one before it."""
    words = _WORD.findall(question)
    if len(words) > _MOST_WORDS:
        return False
    if _OPENING.match(question) and len(words) <= 2 * SHORT:
        return True
    named = [word for word in words if word.lower() not in _EMPTY]
    if _POINTING.search(question) and not _POINTS_INSIDE.search(question):
        return len(named) <= SHORT
    if _FRAGMENT.match(question) and len(words) <= SHORT + 1:
        return True
    return not named or (len(words) < SHORT and not _STANDING.match(question))
