"""The published heuristics as numbers, compiled: one row of `COLUMNS` for each text.

A spoken word has something besides punctuation.

Gopher: Rae et al. 2021, table A1 and section A.1.1. C4: Raffel et al. 2020, section 2.2. FineWeb:
Penedo et al. 2024, section 3.6. Each is measured as datatrove 0.10 does, which is what published
corpora were made with: see `policies` for the thresholds.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from undercroft.curate.heuristics import c4
from undercroft.curate.heuristics import characters as c
from undercroft.curate.heuristics import text as t
from undercroft.curate.heuristics import words as words_of
from undercroft.lake.schemas import MEASURES

COLUMNS: Final = MEASURES
_AT: Final = {name: number for number, name in enumerate(COLUMNS)}
WORDS, SPOKEN, MEAN, HASHES, ELLIPSES, BULLETS, ELLIPSIS_LINES, LETTERS, STOPS = range(9)
REPEATED: Final = _AT["repeated_lines"]
TOP: Final = _AT["top_2gram"]
REPEATED_NGRAMS: Final = _AT["repeated_5gram"]
PUNCTUATED: Final = _AT["punctuated_lines"]
C4_SENTENCES, C4_BANNED = _AT["c4_sentences"], _AT["c4_banned"]

_SHORT_LINE: Final = 30
_U64 = np.uint64
_BASE = _U64(0x9E3779B97F4A7C15)
_DOTS: Final = t.codes("...")
_STOPS: Final = tuple(map(t.codes, ("the", "be", "to", "of", "and", "that", "have", "with")))
_NEWLINE, _DOT, _DASH, _BULLET, _ELLIPSIS, _HASH = (ord(char) for char in "\n.-•…#")


@njit(cache=True, nogil=True)
def measure(data, offsets, flag_table, exceptions, out):  # type: ignore[no-untyped-def]
    """Measure the texts ``data[offsets[i]:offsets[i + 1]]`` (UTF-8) into ``out``.

    ``out`` is float64 [n, len(COLUMNS)], ``flag_table`` is `characters.flags`, ``exceptions`` is
    `exceptions.table`. Of an empty text everything is 0.
    """
    most = 0
    for doc in range(len(offsets) - 1):
        most = max(most, offsets[doc + 1] - offsets[doc])
    codes, kinds = np.empty(most + 1, np.uint32), np.empty(most + 1, np.uint16)
    spans = np.empty((most + 2, 2), np.int32)
    hashes, lengths = np.empty(most + 2, _U64), np.empty(most + 2, np.int64)
    line, line_kinds = np.empty(most + 1, np.uint32), np.empty(most + 1, np.uint16)
    for doc in range(len(offsets) - 1):
        used = t.decode(data[offsets[doc] : offsets[doc + 1]], flag_table, codes, kinds)
        text, flags, row = codes[:used], kinds[:used], out[doc]
        row[:] = 0.0
        if used == 0:
            continue
        count = words_of.find(text, flags, exceptions, spans)
        _of_words(text, flags, spans[:count], hashes, lengths, row)
        _of_lines(text, flags, max(count, 1), row)
        _of_repeats(text, flags, hashes, lengths, row)
        row[C4_SENTENCES], row[C4_BANNED] = c4.judge(
            text, flags, exceptions, line, line_kinds, spans
        )


# --- words -------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _of_words(text, flags, spans, hashes, lengths, row):  # type: ignore[no-untyped-def]
    count = len(spans)
    spoken, spoken_chars, lettered = 0, 0, 0
    stops = np.zeros(len(_STOPS), np.bool_)
    for word in range(count):
        begin, end = spans[word]
        every_symbol, letter = True, False
        for at in range(begin, end):
            every_symbol &= flags[at] & c.SYMBOL != 0
            letter |= flags[at] & c.LETTER != 0
        if not every_symbol:
            spoken, spoken_chars = spoken + 1, spoken_chars + end - begin
        lettered += letter
        hashes[word], lengths[word] = t.digest(text, begin, end), end - begin
        if end - begin <= 4:
            _note_stop_word(text, begin, end, stops)
    row[WORDS], row[SPOKEN] = count, spoken
    row[MEAN] = spoken_chars / max(spoken, 1)
    row[LETTERS] = lettered / max(count, 1)
    row[STOPS] = stops.sum()
    for n in range(2, 5):
        row[TOP + n - 2] = _top_ngram(hashes[:count], lengths[:count], n) / len(text)
    for n in range(5, 11):
        repeated = _repeated_ngrams(hashes[:count], lengths[:count], n)
        row[REPEATED_NGRAMS + n - 5] = repeated / len(text)


@njit(cache=True, nogil=True)
def _note_stop_word(text, begin, end, stops):  # type: ignore[no-untyped-def]
    for number, stop in enumerate(_STOPS):
        if len(stop) == end - begin:
            same = True
            for at in range(len(stop)):
                same &= text[begin + at] == stop[at]
            stops[number] |= same


@njit(cache=True, nogil=True)
def _ngram(hashes, first, n):  # type: ignore[no-untyped-def]
    value = _U64(n)
    for word in range(first, first + n):
        value = value * _BASE + hashes[word]
    return t.mix(value) | _U64(1)


@njit(cache=True, nogil=True)
def _top_ngram(hashes, lengths, n):  # type: ignore[no-untyped-def]
    """Characters in all occurrences of the commonest n-gram, the first of equals."""
    total = len(hashes) - n + 1
    if total < 1:
        return 0
    table = np.zeros(t.table_size(total), _U64)
    counts, firsts = np.zeros(len(table), np.int32), np.zeros(len(table), np.int32)
    for first in range(total):
        key = _ngram(hashes, first, n)
        slot = t.slot_of(table, key)
        if table[slot] == _U64(0):
            table[slot], firsts[slot] = key, first
        counts[slot] += 1
    best, at = 0, 0
    for slot in range(len(table)):
        if counts[slot] > best or (counts[slot] == best and firsts[slot] < at):
            best, at = counts[slot], firsts[slot]
    return (lengths[at : at + n].sum() + n - 1) * best


@njit(cache=True, nogil=True)
def _repeated_ngrams(hashes, lengths, n):  # type: ignore[no-untyped-def]
    """Characters in n-grams that were there before; after one the search goes on behind it."""
    total = len(hashes) - n + 1
    if total < 1:
        return 0
    table = np.zeros(t.table_size(total), _U64)
    first, chars = 0, 0
    while first < total:
        key = _ngram(hashes, first, n)
        slot = t.slot_of(table, key)
        if table[slot] == key:
            chars += lengths[first : first + n].sum()
            first += n
        else:
            table[slot] = key
            first += 1
    return chars


# --- lines -------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _ends_in_ellipsis(text, begin, end):  # type: ignore[no-untyped-def]
    if end > begin and text[end - 1] == _ELLIPSIS:
        return True
    return end - begin >= 3 and t.begins_with(text, end - 3, end, _DOTS)


@njit(cache=True, nogil=True)
def _of_lines(text, flags, num_words, row):  # type: ignore[no-untyped-def]
    hashes, ellipses, at = 0, 0, 0
    while at < len(text):
        hashes += text[at] == _HASH
        ellipses += text[at] == _ELLIPSIS
        if text[at] == _DOT and t.begins_with(text, at, len(text), _DOTS):
            ellipses += 1
            at += 2
        at += 1
    row[HASHES], row[ELLIPSES] = hashes / num_words, ellipses / num_words
    lines, bullets, trailing, begin = 0, 0, 0, 0
    while begin < len(text):
        end, following = t.line_end(text, flags, begin)
        first, last = t.trimmed(flags, begin, end)
        lines += 1
        bullets += last > first and text[first] in (_BULLET, _DASH)
        trailing += _ends_in_ellipsis(text, first, last)
        begin = following
    row[BULLETS], row[ELLIPSIS_LINES] = bullets / max(lines, 1), trailing / max(lines, 1)
    newlines, shown, punctuated, short, begin = 0, 0, 0, 0, 0
    for at in range(len(text) + 1):
        if at < len(text) and text[at] != _NEWLINE:
            continue
        newlines += at < len(text)
        first, last = t.trimmed(flags, begin, at)
        if last > first:
            shown += 1
            punctuated += flags[at - 1] & c.TERMINAL != 0
            short += at - begin <= _SHORT_LINE
        begin = at + 1
    row[PUNCTUATED], row[PUNCTUATED + 1] = punctuated / max(shown, 1), short / max(shown, 1)
    row[PUNCTUATED + 3] = newlines / num_words


@njit(cache=True, nogil=True)
def _of_repeats(text, flags, hashes, lengths, row):  # type: ignore[no-untyped-def]
    """Repeated lines and paragraphs; ``hashes`` and ``lengths`` are scratch space."""
    count = _pieces(text, 0, len(text), 1, hashes, lengths)
    same, chars = _repeats(hashes[:count], lengths[:count])
    row[REPEATED], row[REPEATED + 1] = same / count, chars / len(text)
    first, last = t.trimmed(flags, 0, len(text))
    count = _pieces(text, first, last, 2, hashes, lengths)
    same, chars = _repeats(hashes[:count], lengths[:count])
    row[REPEATED + 2], row[REPEATED + 3] = same / count, chars / len(text)
    count, begin, newlines = 0, 0, 0
    for at in range(len(text) + 1):
        if at < len(text) and text[at] != _NEWLINE:
            continue
        newlines += at < len(text)
        shown, end = t.trimmed(flags, begin, at)
        if end > shown:
            hashes[count], lengths[count] = t.digest(text, begin, at), at - begin
            count += 1
        begin = at + 1
    _, chars = _repeats(hashes[:count], lengths[:count])
    row[PUNCTUATED + 2] = chars / max(len(text) - newlines, 1)


@njit(cache=True, nogil=True)
def _pieces(text, begin, end, newlines, hashes, lengths):  # type: ignore[no-untyped-def]
    """Hash and length of what stands between runs of ``newlines`` or more; how many there are.

    As `re.split` does, a run at either end leaves an empty piece.
    """
    count, start, at = 0, begin, begin
    while at < end:
        run = 0
        while at + run < end and text[at + run] == _NEWLINE:
            run += 1
        if run >= newlines:
            hashes[count], lengths[count] = t.digest(text, start, at), at - start
            count, start = count + 1, at + run
        at += max(run, 1)
    hashes[count], lengths[count] = t.digest(text, start, end), end - start
    return count + 1


@njit(cache=True, nogil=True)
def _repeats(hashes, lengths):  # type: ignore[no-untyped-def]
    """How many pieces were there before, and their characters."""
    table = np.zeros(t.table_size(len(hashes)), _U64)
    same, chars = 0, 0
    for piece in range(len(hashes)):
        key = hashes[piece] | _U64(1)
        slot = t.slot_of(table, key)
        if table[slot] == key:
            same, chars = same + 1, chars + lengths[piece]
        table[slot] = key
    return same, chars
