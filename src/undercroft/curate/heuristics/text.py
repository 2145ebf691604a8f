"""Text as code points, and the small compiled things that measuring it takes."""

from __future__ import annotations

import numpy as np
from numba import njit

from undercroft.curate.heuristics import characters as c

_U64 = np.uint64
_SEED = _U64(0xCBF29CE484222325)  # FNV-1a
_PRIME = _U64(0x100000001B3)


def codes(text: str) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """The code points of ``text``."""
    return np.array([ord(char) for char in text], np.uint32)


@njit(cache=True, nogil=True)
def decode(data, flag_table, codes, kinds):  # type: ignore[no-untyped-def]
    """Code points of valid UTF-8 and their flags; how many there are."""
    used, at = 0, 0
    while at < len(data):
        first = np.uint32(data[at])
        if first < 0x80:
            code, step = first, 1
        elif first < 0xE0:
            code, step = (first & 0x1F) << 6 | (data[at + 1] & 0x3F), 2
        elif first < 0xF0:
            code = (first & 0xF) << 12 | (data[at + 1] & 0x3F) << 6 | (data[at + 2] & 0x3F)
            step = 3
        else:
            code = (
                (first & 0x7) << 18
                | (data[at + 1] & 0x3F) << 12
                | (data[at + 2] & 0x3F) << 6
                | (data[at + 3] & 0x3F)
            )
            step = 4
        codes[used] = code
        kinds[used] = flag_table[code] if code < len(flag_table) else c.LETTER | c.LOWER | c.UPPER
        used, at = used + 1, at + step
    return used


@njit(cache=True, nogil=True)
def mix(value):  # type: ignore[no-untyped-def]
    value = (value ^ (value >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> _U64(27))) * _U64(0x94D049BB133111EB)
    return value ^ (value >> _U64(31))


@njit(cache=True, nogil=True)
def digest(text, begin, end):  # type: ignore[no-untyped-def]
    value = _SEED
    for at in range(begin, end):
        value = (value ^ _U64(text[at])) * _PRIME
    return mix(value)


@njit(cache=True, nogil=True)
def begins_with(text, begin, end, word):  # type: ignore[no-untyped-def]
    """Whether ``text[begin:end]`` begins with ``word``, capital letters of ASCII aside."""
    if end - begin < len(word):
        return False
    for at in range(len(word)):
        code = text[begin + at]
        if 65 <= code <= 90:
            code += 32
        if code != word[at]:
            return False
    return True


@njit(cache=True, nogil=True)
def holds(text, begin, end, word):  # type: ignore[no-untyped-def]
    for at in range(begin, end - len(word) + 1):
        if begins_with(text, at, end, word):
            return True
    return False


@njit(cache=True, nogil=True)
def table_size(items):  # type: ignore[no-untyped-def]
    size = 8
    while size < 2 * items + 2:
        size *= 2
    return size


@njit(cache=True, nogil=True)
def slot_of(table, key):  # type: ignore[no-untyped-def]
    """Where ``key`` (not 0) is or belongs in an open-addressing table."""
    mask = _U64(len(table) - 1)
    slot = key & mask
    while table[slot] != _U64(0) and table[slot] != key:
        slot = (slot + _U64(1)) & mask
    return slot


@njit(cache=True, nogil=True)
def trimmed(flags, begin, end):  # type: ignore[no-untyped-def]
    while begin < end and flags[begin] & c.SPACE:
        begin += 1
    while end > begin and flags[end - 1] & c.SPACE:
        end -= 1
    return begin, end


@njit(cache=True, nogil=True)
def line_end(text, flags, begin):  # type: ignore[no-untyped-def]
    """Where the line that begins here ends, and where the next begins, as `str.splitlines`."""
    end = begin
    while end < len(text) and not flags[end] & c.LINE_END:
        end += 1
    both = end + 1 < len(text) and text[end] == 13 and text[end + 1] == 10
    return end, end + 1 + both
