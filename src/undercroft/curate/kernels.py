"""Compiled loops over Arrow's string buffers: one pass over the bytes gives every signal.

Text is UTF-8. A word is a run of letters and digits; in scripts without spaces (Han, kana) each
character is one. Words are hashed as they are met, ASCII letters lowered and digits made equal,
so that later steps work on numbers alone. Compiled code is cached beside this file.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

U64 = np.uint64
Bytes = NDArray[np.uint8]
Hashes = NDArray[np.uint64]
Indices = NDArray[np.int64]
Numbers = NDArray[np.float64]

#: Columns of what `measure` gives for each text.
NUM_CHARS, NUM_WORDS, MEAN_WORD_LENGTH, SYMBOL_RATIO, DUPLICATE_LINES, TOP_NGRAM = range(6)
NUM_COLUMNS = 6

_SPACE, _NEWLINE, _LETTER, _DIGIT, _SYMBOL, _IDEOGRAPH = range(6)
_FNV_OFFSET = U64(0xCBF29CE484222325)
_FNV_PRIME = U64(0x100000001B3)


@njit(cache=True, nogil=True, inline="always")
def _mix(value):  # type: ignore[no-untyped-def]
    """Finaliser of SplitMix64 (Steele et al. 2014): every input bit reaches every output bit."""
    value = (value ^ (value >> U64(30))) * U64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> U64(27))) * U64(0x94D049BB133111EB)
    return value ^ (value >> U64(31))


@njit(cache=True, nogil=True, inline="always")
def _ascii_class(byte):  # type: ignore[no-untyped-def]
    if byte == 10:
        return _NEWLINE
    if byte == 32 or byte == 9 or byte == 13:
        return _SPACE
    if 48 <= byte <= 57:
        return _DIGIT
    if 65 <= byte <= 90 or 97 <= byte <= 122:
        return _LETTER
    return _SYMBOL


@njit(cache=True, nogil=True)
def _wide_class(lead, second, third):  # type: ignore[no-untyped-def]
    """Class of a character beyond ASCII by its first bytes, block by block."""
    if lead == 0xC2:  # Latin-1 punctuation, and the no-break space
        return _SPACE if second == 0xA0 else _SYMBOL
    if lead == 0xC3:
        return _SYMBOL if second == 0x97 or second == 0xB7 else _LETTER
    if lead == 0xE2:
        if second == 0x80 and third <= 0x8F:
            return _SPACE
        return _LETTER if 0xB0 <= second <= 0xB7 else _SYMBOL
    if lead == 0xE3:
        if second == 0x80:
            return _SPACE if third == 0x80 else _SYMBOL
        return _IDEOGRAPH
    if 0xE4 <= lead <= 0xE9:
        return _IDEOGRAPH
    if lead == 0xEE or (lead == 0xEF and (second == 0xB8 or (second == 0xBC and third <= 0xA0))):
        return _SYMBOL
    if lead == 0xF0:
        if second == 0x9F:
            return _SYMBOL
        return _IDEOGRAPH if second >= 0xA0 else _LETTER
    return _LETTER


@njit(cache=True, nogil=True)
def _count_in(table, counts, key):  # type: ignore[no-untyped-def]
    """Add one to the count of ``key`` in an open-addressing table; the new count."""
    mask = U64(len(table) - 1)
    slot = _mix(key) & mask
    while table[slot] != U64(0) and table[slot] != key:
        slot = (slot + U64(1)) & mask
    table[slot] = key
    counts[slot] += 1
    return counts[slot]


@njit(cache=True, nogil=True)
def _table_size(items):  # type: ignore[no-untyped-def]
    size = 8
    while size < 2 * items + 2:
        size *= 2
    return size


@njit(cache=True, nogil=True)
def _top_ngram_chars(words, lengths):  # type: ignore[no-untyped-def]
    """Characters in all occurrences of the commonest 3-gram of words; 0 when none repeats."""
    total = len(words) - 2
    if total < 2:
        return 0
    size = _table_size(total)
    table, counts = np.zeros(size, U64), np.zeros(size, np.int64)
    best, best_chars = 1, 0
    for i in range(total):
        key = _mix(_mix(words[i] * _FNV_PRIME + words[i + 1]) * _FNV_PRIME + words[i + 2]) | U64(1)
        count = _count_in(table, counts, key)
        chars = lengths[i] + lengths[i + 1] + lengths[i + 2] + 2
        if count > best or (count == best and count > 1 and chars * count > best_chars):
            best, best_chars = count, chars * count
    return best_chars


@njit(cache=True, nogil=True)
def measure(data, offsets, out, words, starts):  # type: ignore[no-untyped-def]
    """Signals of the texts ``data[offsets[i]:offsets[i + 1]]`` into the rows of ``out``.

    ``out`` is float64 [n, NUM_COLUMNS]; ``words`` takes the word hashes of all texts in turn
    (uint64, half as many as bytes plus one for each text are enough), ``starts`` (int64 [n + 1])
    where each text's begin.
    """
    used = 0
    starts[0] = 0
    lengths = np.zeros(len(words) + 1, np.int32)
    for doc in range(len(offsets) - 1):
        begin, end = offsets[doc], offsets[doc + 1]
        first = used
        chars = letters = spaces = word_chars = lines = repeated = 0
        size = _table_size(np.sum(data[begin:end] == 10) + 1)
        table, counts = np.zeros(size, U64), np.zeros(size, np.int32)
        word, length = _FNV_OFFSET, 0
        line, pending, filled = _FNV_OFFSET, 0, False
        at = begin
        while at <= end:
            if at < end:
                byte = data[at]
                width = 1
                if byte < 0x80:
                    kind = _ascii_class(byte)
                else:
                    width = 2 if byte < 0xE0 else (3 if byte < 0xF0 else 4)
                    second = data[at + 1] if at + 1 < end else 0
                    third = data[at + 2] if at + 2 < end else 0
                    kind = _wide_class(byte, second, third)
                chars += 1
            else:
                byte, width, kind = 10, 1, _NEWLINE  # as if a line end followed the last line
            if length > 0 and (kind != _LETTER and kind != _DIGIT):
                words[used], lengths[used] = _mix(word), length
                used += 1
                word_chars += length
                word, length = _FNV_OFFSET, 0
            if kind == _LETTER or kind == _DIGIT or kind == _IDEOGRAPH:
                letters += kind != _DIGIT
                length += 1
                for i in range(at, min(at + width, end)):
                    part = data[i]
                    if kind == _DIGIT:
                        part = 48
                    elif 65 <= part <= 90:
                        part += 32
                    word = (word ^ U64(part)) * _FNV_PRIME
                if kind == _IDEOGRAPH:
                    words[used], lengths[used] = _mix(word), 1
                    used += 1
                    word_chars += 1
                    word, length = _FNV_OFFSET, 0
            if kind == _NEWLINE:
                spaces += at < end
                if filled:
                    lines += 1
                    repeated += _count_in(table, counts, line | U64(1)) > 1
                line, pending, filled = _FNV_OFFSET, 0, False
            elif kind == _SPACE:
                spaces += 1
                pending += 1
            else:
                if filled:
                    for _ in range(pending):  # blanks inside a line count, those around it do not
                        line = (line ^ U64(32)) * _FNV_PRIME
                for i in range(at, min(at + width, end)):
                    line = (line ^ U64(data[i])) * _FNV_PRIME
                pending, filled = 0, True
            at += width
        num_words = used - first
        top = _top_ngram_chars(words[first:used], lengths[first:used])
        out[doc, NUM_CHARS] = chars
        out[doc, NUM_WORDS] = num_words
        out[doc, MEAN_WORD_LENGTH] = word_chars / max(num_words, 1)
        out[doc, SYMBOL_RATIO] = (chars - letters - spaces) / max(chars, 1)
        out[doc, DUPLICATE_LINES] = repeated / max(lines, 1)
        out[doc, TOP_NGRAM] = min(top / max(chars, 1), 1.0)
        starts[doc + 1] = used
    return used


@njit(cache=True, nogil=True)
def shingles(words, size):  # type: ignore[no-untyped-def]
    """A 64-bit hash of every run of ``size`` words, in order; of all words where there are fewer."""
    width = min(size, len(words))
    count = len(words) - width + 1 if width else 0
    out = np.empty(count, U64)
    for i in range(count):
        value = U64(width)
        for j in range(width):
            value = _mix(value * _FNV_PRIME + words[i + j])
        out[i] = value
    return out


@njit(cache=True, nogil=True)
def band_keys(words, starts, size, multipliers, addends, bands):  # type: ignore[no-untyped-def]
    """MinHash band keys, uint64 [n, bands], of texts given by their word hashes.

    One 64-bit key for each band instead of its rows: only equality of a whole band matters.
    Permutations are multiply-shift hashes (Dietzfelbinger et al. 1997), 32 bits kept.
    """
    total = len(multipliers)
    rows = total // bands
    keys = np.zeros((len(starts) - 1, bands), U64)
    least = np.empty(total, U64)
    for doc in range(len(starts) - 1):
        least[:] = U64(0xFFFFFFFF)
        for shingle in shingles(words[starts[doc] : starts[doc + 1]], size):
            for p in range(total):
                value = (multipliers[p] * shingle + addends[p]) >> U64(32)
                least[p] = min(least[p], value)
        for band in range(bands):
            key = U64(band + 1)
            for row in range(rows):
                key = _mix(key * _FNV_PRIME + least[band * rows + row])
            keys[doc, band] = key
    return keys
