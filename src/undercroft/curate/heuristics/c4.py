"""The lines that C4 keeps of a text, and what they say of it (Raffel et al. 2020, section 2.2)."""

from __future__ import annotations

from typing import Final

from numba import njit

from undercroft.curate.heuristics import characters as c
from undercroft.curate.heuristics import text as t
from undercroft.curate.heuristics import words

_LONG_WORD: Final = 1000
_DOTS, _LOREM, _SCRIPT, _EDIT, _NEEDED = map(
    t.codes, ("...", "lorem ipsum", "javascript", "[edit]", "[citation needed]")
)
_POLICIES: Final = tuple(
    map(
        t.codes,
        (
            "terms of use",
            "privacy policy",
            "cookie policy",
            "uses cookies",
            "use of cookies",
            "use cookies",
        ),
    )
)
_SENTENCE_ENDS: Final = t.codes(".?!\"'")
_CURLY, _OPEN, _CLOSE = ord("{"), ord("["), ord("]")


@njit(cache=True, nogil=True)
def judge(text, flags, exceptions, line, kinds, spans):  # type: ignore[no-untyped-def]
    """Sentences in the lines that C4 keeps, and whether one of them bans the whole text.

    ``line`` and ``kinds`` (as ``text`` and ``flags``) and ``spans`` are scratch space.
    """
    sentences, begin = 0, 0
    while begin < len(text):
        end, following = t.line_end(text, flags, begin)
        first, last = t.trimmed(flags, begin, end)
        begin = following
        if not _has_words(flags, first, last):
            continue
        used = _without_citations(text, flags, first, last, line, kinds)
        if not _ends_a_sentence(line, used):
            continue
        if t.holds(line, 0, used, _LOREM):
            return sentences, True
        if t.holds(line, 0, used, _SCRIPT):
            continue
        if (line[:used] == _CURLY).any():
            return sentences, True
        if not _is_policy(line, used):
            sentences += _sentences(line[:used], kinds[:used], exceptions, spans)
    return sentences, False


@njit(cache=True, nogil=True)
def _is_policy(line, used):  # type: ignore[no-untyped-def]
    for policy in _POLICIES:
        if t.holds(line, 0, used, policy):
            return True
    return False


@njit(cache=True, nogil=True)
def _has_words(flags, begin, end):  # type: ignore[no-untyped-def]
    """Whether there are three words or more, none of them endless."""
    count, at = 0, begin
    while at < end:
        start = at
        while at < end and not flags[at] & c.SPACE:
            at += 1
        if at - start > _LONG_WORD:
            return False
        count += at > start
        at += 1
    return count >= 3


@njit(cache=True, nogil=True)
def _without_citations(text, flags, begin, end, line, kinds):  # type: ignore[no-untyped-def]
    used, at = 0, begin
    while at < end:
        length = _citation(text, flags, at, end) if text[at] == _OPEN else 0
        if length:
            at += length
            continue
        line[used], kinds[used] = text[at], flags[at]
        used, at = used + 1, at + 1
    return used


@njit(cache=True, nogil=True)
def _citation(text, flags, at, end):  # type: ignore[no-untyped-def]
    """Length of ``[12]``, ``[]``, ``[edit]`` or ``[citation needed]`` at ``at``, or 0."""
    close = at + 1
    while close < end and flags[close] & c.DIGIT:
        close += 1
    if close < end and text[close] == _CLOSE:
        return close + 1 - at
    for known in (_EDIT, _NEEDED):
        if end - at >= len(known):
            same = True
            for number in range(len(known)):
                same &= text[at + number] == known[number]
            if same:
                return len(known)
    return 0


@njit(cache=True, nogil=True)
def _ends_a_sentence(line, used):  # type: ignore[no-untyped-def]
    if used == 0 or (used >= 3 and t.begins_with(line, used - 3, used, _DOTS)):
        return False
    return (line[used - 1] == _SENTENCE_ENDS).any()


@njit(cache=True, nogil=True)
def _sentences(line, kinds, exceptions, spans):  # type: ignore[no-untyped-def]
    """Sentences of ``line``: one begins with the first word behind terminal punctuation."""
    count = words.find(line, kinds, exceptions, spans)
    found, ended = 1 if count else 0, False
    for word in range(count):
        begin, end = spans[word]
        terminal = end - begin == 1 and kinds[begin] & c.TERMINAL != 0
        punctuation = True
        for at in range(begin, end):
            punctuation &= kinds[at] & c.PUNCTUATION != 0
        if terminal:
            ended = True
        elif ended and not punctuation:
            found, ended = found + 1, False
    return found
