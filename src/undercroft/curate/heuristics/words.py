"""Text -> words, compiled: the rules of spaCy's English tokenizer, to count as it counts.

A chunk between white space loses punctuation, quotes and symbols at both ends, one at a time, each
a word of its own; a dot goes where it ends a sentence rather than an abbreviation; units go from
numbers; what is left is cut at hyphens, dots and operators between letters or digits. Exceptions
(`exceptions`) and addresses are not cut.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from undercroft.curate.heuristics import characters as c
from undercroft.curate.heuristics.exceptions import MAX_LENGTH

_ALNUM: Final = c.LETTER | c.DIGIT
_UNITS: Final = """
    km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s
    km/h mph hPa Pa mbar mb MB kb KB gb GB tb TB T G M K %
""".split()
_UNIT_LENGTHS: Final = np.array([len(unit) for unit in _UNITS])
_UNIT_CODES: Final = np.zeros((len(_UNITS), 4), np.uint32)
for _row, _name in enumerate(_UNITS):
    _UNIT_CODES[_row, : len(_name)] = [ord(char) for char in _name]

_DOT, _AT, _SLASH, _COLON, _COMMA = (ord(char) for char in ".@/:,")
_PLUS, _MINUS, _STAR, _CARET, _EQUALS, _LESS, _MORE = (ord(char) for char in "+-*^=<>")
_SMALL_S, _BIG_S, _APOSTROPHE, _CURLY = ord("s"), ord("S"), ord("'"), 0x2019
_EN_DASH, _EM_DASH, _ELLIPSIS = 0x2013, 0x2014, 0x2026
_PERCENT, _PARAGRAPH, _SQUARED = ord("%"), 0xA7, 0xB2
_QUESTION, _HASH, _UNDERSCORE = ord("?"), ord("#"), ord("_")


@njit(cache=True, nogil=True)
def find(text, flags, exceptions, spans):  # type: ignore[no-untyped-def]
    """Write where the words of ``text`` (uint32 code points, ``flags`` of each) begin and end.

    ``exceptions`` is `exceptions.table`; ``spans`` (int32 [n, 2]) has room for a word per
    character. Returns the number of words.
    """
    used, at = 0, 0
    waiting = np.empty(len(text) + 1, np.int32)
    while at < len(text):
        if flags[at] & c.SPACE:
            at += 1
            continue
        end, plain = at, True
        while end < len(text) and not flags[end] & c.SPACE:
            plain &= flags[end] & c.LETTER != 0
            end += 1
        if plain and _exception(text, at, end, exceptions) < 0:
            used = _add(spans, used, at, end)
        else:
            first = used
            used = _chunk(text, flags, (at, end), exceptions, spans, used, waiting)
            used = _joined(text, exceptions, spans, first, used)
        at = end
    return used


@njit(cache=True, nogil=True)
def _add(spans, used, begin, end):  # type: ignore[no-untyped-def]
    spans[used, 0], spans[used, 1] = begin, end
    return used + 1


@njit(cache=True, nogil=True)
def _chunk(text, flags, span, exceptions, spans, used, waiting):  # type: ignore[no-untyped-def]
    """The words of a chunk: what is cut off in front, what is left, what is cut off behind.

    ``waiting`` takes the ends of what is cut off behind. Returns the number of words so far.
    """
    begin, end = span
    behind = 0
    while begin < end and _exception(text, begin, end, exceptions) < 0:
        front = _prefix(text, flags, begin, end)
        if front:
            used, begin = _add(spans, used, begin, begin + front), begin + front
            if _exception(text, begin, end, exceptions) >= 0:
                break
        back = _suffix(text, flags, begin, end)
        if back:
            waiting[behind] = end
            behind, end = behind + 1, end - back
        if not front and not back:
            break
    slot = _exception(text, begin, end, exceptions)
    if slot >= 0:
        used = _add_parts(exceptions, slot, spans, used, begin)
    elif begin < end and _is_address(text, flags, begin, end):
        used = _add(spans, used, begin, end)
    elif begin < end:
        used = _inside(text, flags, (begin, end), spans, used)
    for number in range(behind - 1, -1, -1):
        used, end = _add(spans, used, end, waiting[number]), waiting[number]
    return used


@njit(cache=True, nogil=True)
def _add_parts(exceptions, slot, spans, used, begin):  # type: ignore[no-untyped-def]
    for length in exceptions[1][slot]:
        if length:
            used, begin = _add(spans, used, begin, begin + length), begin + length
    return used


@njit(cache=True, nogil=True)
def _joined(text, exceptions, spans, first, used):  # type: ignore[no-untyped-def]
    """Neighbouring words from ``first`` on that are an exception together become its parts."""
    kept, word = first, first
    while word < used:
        begin, end = spans[word, 0], spans[word, 1]
        slot, last, other = -1, word, word + 1
        while other < used and spans[other, 1] - begin <= MAX_LENGTH:
            found = _exception(text, begin, spans[other, 1], exceptions)
            if found >= 0 and np.count_nonzero(exceptions[1][found]) <= other - word + 1:
                slot, last = found, other
            other += 1
        if slot < 0:
            kept = _add(spans, kept, begin, end)
        else:
            kept = _add_parts(exceptions, slot, spans, kept, begin)
        word = last + 1
    return kept


@njit(cache=True, nogil=True)
def _exception(text, begin, end, exceptions):  # type: ignore[no-untyped-def]
    """The slot of ``text[begin:end]`` in the table of exceptions, or -1."""
    if end - begin > MAX_LENGTH or end <= begin:
        return -1
    keys = exceptions[0]
    key = np.uint64(0xCBF29CE484222325)
    for at in range(begin, end):
        key = (key ^ np.uint64(text[at])) * np.uint64(0x100000001B3)
    mask = np.uint64(len(keys) - 1)
    slot = key & mask
    while keys[slot] != np.uint64(0):
        if keys[slot] == key:
            return np.int64(slot)
        slot = (slot + np.uint64(1)) & mask
    return -1


@njit(cache=True, nogil=True)
def _prefix(text, flags, begin, end):  # type: ignore[no-untyped-def]
    """Length of what is cut off in front."""
    first = text[begin]
    if flags[begin] & (c.AFFIX | c.CURRENCY):
        return 1
    if first in (_PARAGRAPH, _PERCENT, _EQUALS, _EM_DASH, _EN_DASH):
        return 1
    if first == _PLUS and not (begin + 1 < end and flags[begin + 1] & c.DIGIT):
        return 1
    dots = _run(text, begin, end) if first == _DOT else 0
    return dots if dots > 1 else 0


@njit(cache=True, nogil=True)
def _suffix(text, flags, begin, end):  # type: ignore[no-untyped-def]
    """Length of what is cut off behind; ``text[begin:end]`` may be empty."""
    if end <= begin:
        return 0
    last, before = text[end - 1], text[end - 2] if end - 2 >= begin else np.uint32(0)
    kind_before = flags[end - 2] if end - 2 >= begin else np.uint16(0)
    if last in (_SMALL_S, _BIG_S) and before in (_APOSTROPHE, _CURLY):
        return 2
    if last == _DOT:
        dots = 1
        while end - dots > begin and text[end - dots - 1] == _DOT:
            dots += 1
        if dots > 1:
            return dots
        if kind_before & (c.DIGIT | c.LOWER | c.AFFIX | c.QUOTE):
            return 1
        if before in (_PERCENT, _SQUARED, _MINUS, _PLUS):
            return 1
        third = flags[end - 3] if end - 3 >= begin else np.uint16(0)
        return 1 if kind_before & c.UPPER and third & c.UPPER else 0
    if flags[end - 1] & c.AFFIX or last in (_EM_DASH, _EN_DASH):
        return 1
    if kind_before & c.DIGIT and (last == _PLUS or flags[end - 1] & c.CURRENCY):
        return 1
    return _unit(text, flags, begin, end)


@njit(cache=True, nogil=True)
def _unit(text, flags, begin, end):  # type: ignore[no-untyped-def]
    """Length of the longest unit of measure that ends a number here."""
    best = 0
    for unit in range(len(_UNIT_LENGTHS)):
        length = _UNIT_LENGTHS[unit]
        if length > best and end - length > begin and flags[end - length - 1] & c.DIGIT:
            same = True
            for at in range(length):
                same &= text[end - length + at] == _UNIT_CODES[unit, at]
            best = length if same else best
    return best


@njit(cache=True, nogil=True)
def _inside(text, flags, span, spans, used):  # type: ignore[no-untyped-def]
    """Cut a chunk at what joins words; the number of words so far."""
    start, end = span
    at = start + 1
    while at < end - 1:
        length = _infix(text, flags, at, end)
        if length and at > start:
            used = _add(spans, used, start, at)
            used, start = _add(spans, used, at, at + length), at + length
        at += max(length, 1)
    return _add(spans, used, start, end) if start < end else used


@njit(cache=True, nogil=True)
def _infix(text, flags, at, end):  # type: ignore[no-untyped-def]
    """Length of the joint at ``at``, which is neither the first character nor the last."""
    char, before, after = text[at], flags[at - 1], flags[at + 1]
    if char == _ELLIPSIS or flags[at] & c.ICON:
        return 1
    if char == _DOT:
        dots = _run(text, at, end)
        if dots > 1:
            return dots
        return 1 if before & (c.LOWER | c.QUOTE) and after & (c.UPPER | c.QUOTE) else 0
    if char in (_PLUS, _MINUS, _STAR, _CARET) and before & c.DIGIT:
        if after & c.DIGIT or text[at + 1] == _MINUS:
            return 1
    if flags[at] & c.HYPHEN and before & _ALNUM:
        return _hyphen(text, flags, at, end)
    if char == _COMMA:
        return 1 if before & c.LETTER and after & c.LETTER else 0
    if char in (_COLON, _LESS, _MORE, _EQUALS, _SLASH):
        return 1 if before & _ALNUM and after & c.LETTER else 0
    return 0


@njit(cache=True, nogil=True)
def _run(text, at, end):  # type: ignore[no-untyped-def]
    """How many characters from ``at`` on are the same."""
    length = 1
    while at + length < end and text[at + length] == text[at]:
        length += 1
    return length


@njit(cache=True, nogil=True)
def _hyphen(text, flags, at, end):  # type: ignore[no-untyped-def]
    """Length of the hyphen or dash at ``at`` if a letter follows it, else 0."""
    most = 3 if text[at] == _MINUS else 2 if text[at] == _EM_DASH else 1
    length = min(_run(text, at, end), most)
    return length if at + length < end and flags[at + length] & c.LETTER else 0


@njit(cache=True, nogil=True)
def _is_address(text, flags, begin, end):  # type: ignore[no-untyped-def]
    """Whether this is a URL, a host name or an e-mail address.

    ``[scheme://][user@]host.tld[:port][/path]``, the top-level domain in small letters.
    """
    host = _behind_scheme(text, flags, begin, end)
    if _is_host(text, flags, host, end):
        return True
    for at in range(host + 1, end):
        if text[at] == _AT and _is_host(text, flags, at + 1, end):
            return True
    return False


@njit(cache=True, nogil=True)
def _behind_scheme(text, flags, begin, end):  # type: ignore[no-untyped-def]
    at = begin
    while at < end and (flags[at] & _ALNUM or text[at] in (_PLUS, _MINUS, _DOT, _UNDERSCORE)):
        at += 1
    slashes = at + 2 < end and text[at + 1] == _SLASH and text[at + 2] == _SLASH
    return at + 3 if at - begin >= 2 and slashes and text[at] == _COLON else begin


@njit(cache=True, nogil=True)
def _is_host(text, flags, begin, end):  # type: ignore[no-untyped-def]
    dots, label, small = 0, 0, 0
    at = begin
    while at < end and text[at] not in (_SLASH, _QUESTION, _HASH, _COLON):
        if text[at] == _DOT:
            if label == 0:
                return False
            dots, label, small = dots + 1, 0, 0
        elif flags[at] & _ALNUM or (label and text[at] in (_MINUS, _UNDERSCORE)):
            label += 1
            small += flags[at] & c.LOWER != 0
        else:
            return False
        at += 1
    if at + 1 < end and text[at] == _COLON and not flags[at + 1] & c.DIGIT:
        return False
    return dots > 0 and label >= 2 and small == label
