"""Compiled loops over Arrow's string buffers: UTF-8 bytes in, signals and word hashes out.

Every byte is looked up once in a table of kinds; what follows runs over those kinds. A word is a
run of letters and digits; in scripts without spaces (Han, kana, Thai, Lao, Burmese, Khmer) each
character is one. Words are hashed with ASCII letters lowered and digits made equal, so that later
steps work on numbers alone.
Compiled code is cached on disk; compiling takes 2 to 3 s once.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

U64 = np.uint64

#: Columns of what `measure` gives for each text.
NUM_CHARS, NUM_WORDS, MEAN_WORD_LENGTH, SYMBOL_RATIO, DUPLICATE_LINES, TOP_NGRAM = range(6)
NUM_COLUMNS: Final = 6

#: Kinds of characters; from `_LETTER` on they make words. `_INSIDE` is a byte that begins none.
_SPACE, _NEWLINE, _SYMBOL, _INSIDE, _LETTER, _DIGIT, _IDEOGRAPH = range(7)

_OFFSET = U64(0xCBF29CE484222325)  # FNV-1a
_PRIME = U64(0x100000001B3)

_LINE_SIZE = U64(0xFF)  # of the number of a line: how many letters and digits it has


def _kind_table() -> NDArray[np.uint8]:
    """Kind of a character by its first two bytes, uint8 [256, 256], block by block of Unicode."""
    kinds = np.full((256, 256), _SYMBOL, np.uint8)
    kinds[[9, 11, 12, 13, 32]] = _SPACE
    kinds[10] = _NEWLINE
    kinds[ord("0") : ord("9") + 1] = _DIGIT
    kinds[ord("A") : ord("Z") + 1] = kinds[ord("a") : ord("z") + 1] = _LETTER
    kinds[0x80:0xC0] = _INSIDE
    kinds[0xC2, 0xA0] = _SPACE  # no-break space; the rest of 0xC2 is Latin-1 punctuation
    kinds[0xC3:0xE2] = _LETTER
    kinds[0xC3, [0x97, 0xB7]] = _SYMBOL  # the signs of multiplication and division
    kinds[0xE0, 0xB8:0xBC] = _IDEOGRAPH  # Thai, Lao
    kinds[0xE1, 0x80:0x82] = kinds[0xE1, 0x9E:0xA0] = _IDEOGRAPH  # Burmese, Khmer
    kinds[0xE2, 0xB0:0xB8] = _LETTER  # Glagolitic, Coptic, …; before them punctuation and symbols
    kinds[0xE3, 0x81:] = kinds[0xE4:0xEA] = _IDEOGRAPH  # kana, Han; 0xE3 0x80 is their punctuation
    kinds[0xEA:0xEE] = _LETTER  # Hangul and others
    kinds[0xEF] = kinds[0xF0] = _LETTER
    kinds[0xEF, [0xB8, 0xBC]] = _SYMBOL  # variation selectors, full-width punctuation
    kinds[0xF0, 0x9F] = _SYMBOL  # emoji
    kinds[0xF0, 0xA0:0xB0] = _IDEOGRAPH
    return kinds


def _fold_table() -> NDArray[np.uint8]:
    """What each byte counts as in the hash of a word, uint8 [256]."""
    folded = np.arange(256, dtype=np.uint8)
    folded[ord("A") : ord("Z") + 1] += 32
    folded[ord("0") : ord("9") + 1] = ord("0")
    return folded


_KINDS: Final = _kind_table()
_FOLDED: Final = _fold_table()


@njit(cache=True, nogil=True)
def _mix(value):  # type: ignore[no-untyped-def]
    """Finaliser of SplitMix64 (Steele et al. 2014): every input bit reaches every output bit."""
    value = (value ^ (value >> U64(30))) * U64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> U64(27))) * U64(0x94D049BB133111EB)
    return value ^ (value >> U64(31))


@njit(cache=True, nogil=True)
def _classify(data):  # type: ignore[no-untyped-def]
    """The kind of each byte of ``data``, uint8."""
    kinds = np.empty(len(data), np.uint8)
    for at in range(len(data)):
        following = data[at + 1] if at + 1 < len(data) else np.uint8(0)
        kinds[at] = _KINDS[data[at], following]
    return kinds


@njit(cache=True, nogil=True)
def _hash_words(data, kinds, words, lengths):  # type: ignore[no-untyped-def]
    """Write hash and length (in characters) of every word of one text; how many there are."""
    used, length, before = 0, 0, _SPACE
    word = _OFFSET
    for at in range(len(data)):
        kind = kinds[at]
        if kind != _INSIDE:
            goes_on = _LETTER <= kind <= _DIGIT and before != _IDEOGRAPH
            if length > 0 and not goes_on:
                words[used], lengths[used] = _mix(word), length
                used, length, word = used + 1, 0, _OFFSET
            before = kind
            length += kind >= _LETTER
        if before >= _LETTER:
            word = (word ^ U64(_FOLDED[data[at]])) * _PRIME
    if length > 0:
        words[used], lengths[used] = _mix(word), length
        used += 1
    return used


@njit(cache=True, nogil=True)
def _tally(kinds):  # type: ignore[no-untyped-def]
    """How many bytes are of each kind; all but those of `_INSIDE` begin a character."""
    counts = np.zeros(8, np.int64)
    for kind in kinds:
        counts[kind] += 1
    return counts


@njit(cache=True, nogil=True)
def _table_size(items):  # type: ignore[no-untyped-def]
    """A power of two at least twice ``items``."""
    size = 8
    while size < 2 * items + 2:
        size *= 2
    return size


@njit(cache=True, nogil=True)
def _count_in(table, counts, key):  # type: ignore[no-untyped-def]
    """Add one to the count of ``key`` (not 0) in an open-addressing table; the new count."""
    mask = U64(len(table) - 1)
    slot = _mix(key) & mask
    while table[slot] != U64(0) and table[slot] != key:
        slot = (slot + U64(1)) & mask
    table[slot] = key
    counts[slot] += 1
    return counts[slot]


@njit(cache=True, nogil=True)
def _top_ngram_chars(words, lengths):  # type: ignore[no-untyped-def]
    """Characters in all occurrences of the commonest 3-gram of words; 0 when none repeats."""
    size = _table_size(len(words))
    table, counts = np.zeros(size, U64), np.zeros(size, np.int64)
    best, best_chars = 1, 0
    for i in range(len(words) - 2):
        key = _mix(_mix(words[i] * _PRIME + words[i + 1]) * _PRIME + words[i + 2]) | U64(1)
        count = _count_in(table, counts, key)
        chars = (lengths[i] + lengths[i + 1] + lengths[i + 2] + 2) * count
        if count > best or (count == best > 1 and chars > best_chars):
            best, best_chars = count, chars
    return best_chars


@njit(cache=True, nogil=True)
def _total(numbers):  # type: ignore[no-untyped-def]
    total = 0
    for number in numbers:
        total += number
    return total


@njit(cache=True, nogil=True)
def _line_repeats(data, kinds, num_ends):  # type: ignore[no-untyped-def]
    """Lines that are not blank, and those of them that an earlier line said already.

    ``num_ends`` is the number of line ends.
    """
    size = _table_size(num_ends + 1)
    table, counts = np.zeros(size, U64), np.zeros(size, np.int64)
    lines, repeated, blanks, line = 0, 0, 0, _OFFSET
    for at in range(len(data) + 1):
        kind = kinds[at] if at < len(data) else _NEWLINE
        if kind == _NEWLINE:
            if line != _OFFSET:
                lines += 1
                repeated += _count_in(table, counts, line | U64(1)) > 1
            line, blanks = _OFFSET, 0
        elif kind == _SPACE:
            blanks += line != _OFFSET  # those inside a line count, those around it do not
        else:
            line = ((line + U64(blanks)) ^ U64(data[at])) * _PRIME
            blanks = 0
    return lines, repeated


@njit(cache=True, nogil=True)
def measure(data, offsets, out, words, starts):  # type: ignore[no-untyped-def]
    """Signals of the texts ``data[offsets[i]:offsets[i + 1]]`` into the rows of ``out``.

    ``out`` is float64 [n, NUM_COLUMNS]. ``words`` takes the word hashes of all texts in turn
    (uint64; half as many as bytes plus one for each text are enough), ``starts`` (int64 [n + 1])
    where each text's begin.
    """
    kinds = _classify(data[offsets[0] : offsets[-1]])
    lengths = np.empty(len(words), np.int32)
    starts[0] = 0
    for doc in range(len(offsets) - 1):
        text = data[offsets[doc] : offsets[doc + 1]]
        kind = kinds[offsets[doc] - offsets[0] : offsets[doc + 1] - offsets[0]]
        first = starts[doc]
        used = _hash_words(text, kind, words[first:], lengths[first:])
        last = first + used
        tally = _tally(kind)
        num_chars = len(text) - tally[_INSIDE]
        chars = max(num_chars, 1)
        lines, repeated = _line_repeats(text, kind, tally[_NEWLINE])
        top = _top_ngram_chars(words[first:last], lengths[first:last])
        out[doc, NUM_CHARS] = num_chars
        out[doc, NUM_WORDS] = used
        out[doc, MEAN_WORD_LENGTH] = _total(lengths[first:last]) / max(used, 1)
        out[doc, SYMBOL_RATIO] = (tally[_SYMBOL] + tally[_DIGIT]) / chars
        out[doc, DUPLICATE_LINES] = repeated / max(lines, 1)
        out[doc, TOP_NGRAM] = min(top / chars, 1.0)
        starts[doc + 1] = last


@njit(cache=True, nogil=True)
def shingles(words, size):  # type: ignore[no-untyped-def]
    """A 64-bit hash of every run of ``size`` words, in order (uint64); none of a shorter text."""
    out = np.empty(max(len(words) - size + 1, 0), U64)
    for i in range(len(out)):
        value = U64(size)
        for j in range(size):
            value = _mix(value * _PRIME + words[i + j])
        out[i] = value
    return out


@njit(cache=True, nogil=True)
def band_keys(words, starts, size, permutations, bands):  # type: ignore[no-untyped-def]
    """MinHash band keys, uint64 [n, bands], of texts given by their word hashes.

    One 64-bit key for each band instead of its rows: only equality of a whole band matters.
    ``permutations`` (uint64 [2, p]) are multipliers and addends of multiply-shift hashes
    (Dietzfelbinger et al. 1997), of which 32 bits are kept.
    """
    total = permutations.shape[1]
    rows = total // bands
    keys = np.zeros((len(starts) - 1, bands), U64)
    least = np.empty(total, U64)
    for doc in range(len(starts) - 1):
        least[:] = U64(0xFFFFFFFF)
        for shingle in shingles(words[starts[doc] : starts[doc + 1]], size):
            for p in range(total):
                value = (permutations[0, p] * shingle + permutations[1, p]) >> U64(32)
                least[p] = min(least[p], value)
        for band in range(bands):
            key = U64(band + 1)
            for row in range(rows):
                key = _mix(key * _PRIME + least[band * rows + row])
            keys[doc, band] = key
    return keys


@njit(cache=True, nogil=True)
def connect(keys, order, parents):  # type: ignore[no-untyped-def]
    """Join the items that have a key in common; the size of the largest such bucket.

    ``keys`` is uint64 [n], ``order`` sorts them, ``parents`` (int32 [n]) is a forest whose roots
    are the smallest items of their trees.
    """
    largest, first = 1, 0
    for at in range(1, len(order)):
        if keys[order[at]] != keys[order[first]]:
            first = at
            continue
        largest = max(largest, at - first + 1)
        one, other = _root(parents, order[first]), _root(parents, order[at])
        parents[max(one, other)] = min(one, other)
    return largest


@njit(cache=True, nogil=True)
def settle(parents):  # type: ignore[no-untyped-def]
    """Make every item of the forest point at its root."""
    for at in range(len(parents)):
        parents[at] = _root(parents, at)


@njit(cache=True, nogil=True)
def _root(parents, at):  # type: ignore[no-untyped-def]
    while parents[at] != at:
        parents[at] = parents[parents[at]]
        at = parents[at]
    return at


@njit(cache=True, nogil=True)
def fingerprints(ids, digests, groups, salt):  # type: ignore[no-untyped-def]
    """What the group of each item consists of, as one number (uint64 [n]).

    The sum over its members, so their order does not matter. ``groups`` gives the first member.
    """
    sums = np.zeros(len(ids), U64)
    for at in range(len(ids)):
        sums[groups[at]] += _mix(_mix(ids[at] + salt) ^ digests[at])
    out = np.empty(len(ids), U64)
    for at in range(len(ids)):
        out[at] = _mix(sums[groups[at]] + salt)
    return out


@njit(cache=True, nogil=True)
def number_lines(data, offsets, numbers, starts):  # type: ignore[no-untyped-def]
    """The numbers of the lines of each text (`curate.lines`), text after text."""
    used = 0
    for doc in range(len(offsets) - 1):
        text = data[offsets[doc] : offsets[doc + 1]]
        kinds = _classify(text)
        line, size, before = _OFFSET, 0, _SPACE
        for at in range(len(text)):
            if kinds[at] == _NEWLINE:
                numbers[used] = _numbered(line, size)
                used += 1
                line, size, before = _OFFSET, 0, _SPACE
                continue
            if kinds[at] != _INSIDE:
                before = kinds[at]
                size += before >= _LETTER
            if before >= _LETTER:
                line = (line ^ U64(_FOLDED[text[at]])) * _PRIME
        if len(text) > 0 and kinds[-1] != _NEWLINE:
            numbers[used] = _numbered(line, size)
            used += 1
        starts[doc + 1] = used


@njit(cache=True, nogil=True)
def _numbered(line, size):  # type: ignore[no-untyped-def]
    if size == 0:
        return U64(0)
    return (_mix(line) & ~_LINE_SIZE) | U64(min(size, 255))


@njit(cache=True, nogil=True)
def join_lines(numbers, ends, found, documents, firsts, lasts):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Paragraphs out of the numbers of lines (`lines.paragraphs`); how many there are."""
    used, first = 0, 0
    for doc in range(len(ends)):
        value, size, begin = _OFFSET, 0, first
        for at in range(first, ends[doc] + 1):
            number = numbers[at] if at < ends[doc] else U64(0)
            if number != U64(0):
                value = _mix(value * _PRIME + (number & ~_LINE_SIZE))
                size += int(number & _LINE_SIZE)
                continue
            if at > begin:
                found[used] = (value & ~_LINE_SIZE) | U64(min(size, 255))
                documents[used], firsts[used], lasts[used] = doc, begin - first, at - first
                used += 1
            value, size, begin = _OFFSET, 0, at + 1
        first = ends[doc]
    return used
