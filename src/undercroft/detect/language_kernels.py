"""Compiled loops over UTF-8 bytes that give every language its probability.

`by_subwords` is fastText's classification, `by_bytes` that of langid.py. Both give the same as the
originals up to rounding; a test compares them. Each text is read once, and no string or dictionary
is made of it. Compiled code is cached on disk; compiling takes 3 s once.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

_OFFSET: Final = np.uint32(2166136261)  # FNV-1a, as fastText has it
_PRIME: Final = np.uint32(16777619)
_OFFSET_64: Final = np.uint64(0xCBF29CE484222325)
_PRIME_64: Final = np.uint64(0x100000001B3)
_BEGIN, _END = ord("<"), ord(">")
_SHORTEST, _LONGEST = 2, 4
_HALF: Final = np.float32(2.0**112)  # what the exponents of half and single precision differ by


def _space_table() -> NDArray[np.bool_]:
    """What fastText parts words at, bool [256]."""
    table = np.zeros(256, np.bool_)
    table[[0, 9, 10, 11, 12, 13, 32]] = True
    return table


_IS_SPACE: Final = _space_table()


@njit(cache=True, nogil=True)
def hash_word(data, start, end):  # type: ignore[no-untyped-def]
    """64-bit FNV-1a of ``data[start:end]``, never 0."""
    value = _OFFSET_64
    for at in range(start, end):
        value = (value ^ np.uint64(data[at])) * _PRIME_64
    return value | np.uint64(1)


@njit(cache=True, nogil=True)
def _row_of_word(data, start, end, words, rows):  # type: ignore[no-untyped-def]
    """The row of a word that the dictionary has, -1 where it has not."""
    key, last = hash_word(data, start, end), np.uint64(len(words) - 1)
    slot = key & last
    while words[slot]:
        if words[slot] == key:
            return rows[slot]
        slot = (slot + np.uint64(1)) & last
    return np.int32(-1)


@njit(cache=True, nogil=True)
def _add(total, inputs, row):  # type: ignore[no-untyped-def]
    for column in range(len(total)):
        total[column] += inputs[row, column]


@njit(cache=True, nogil=True)
def _add_ngrams(total, word, table, inputs):  # type: ignore[no-untyped-def]
    """Add the vectors of the n-grams of ``word``, which has its marks around it; their number."""
    ngrams, rows, buckets = table
    size, last, count = len(word), len(ngrams) - 1, 0
    for start in range(size):
        if word[start] & 0xC0 == 0x80:
            continue
        value, at = _OFFSET, start
        for length in range(1, _LONGEST + 1):
            if at >= size:
                break
            while True:  # fastText takes bytes for signed numbers
                byte = np.uint32(np.int32(np.int8(word[at])))
                value = np.uint32(np.uint32(value ^ byte) * _PRIME)
                at += 1
                if at >= size or word[at] & 0xC0 != 0x80:
                    break
            if length < _SHORTEST:
                continue
            number = np.int32(value % np.uint32(buckets))
            slot = number & last
            while ngrams[slot] >= 0:
                if ngrams[slot] == number:
                    _add(total, inputs, rows[slot])
                    count += 1
                    break
                slot = (slot + 1) & last
    return count


@njit(cache=True, nogil=True)
def _mean_vector(data, dictionary, table, inputs):  # type: ignore[no-untyped-def]
    """The mean of the vectors of the words, their n-grams and the end of the line."""
    words, rows_of_words, end = dictionary
    total = np.zeros(inputs.shape[1], np.float32)
    word = np.empty(len(data) + 2, np.uint8)
    word[0] = _BEGIN
    count, start = 1, 0
    _add(total, inputs, end)
    for at in range(len(data) + 1):
        if at < len(data) and not _IS_SPACE[data[at]]:
            word[at - start + 1] = data[at]
            continue
        if at > start:
            row = _row_of_word(data, start, at, words, rows_of_words)
            if row == end:
                break
            if row >= 0:
                _add(total, inputs, row)
                count += 1
            word[at - start + 1] = _END
            marked = word[: at - start + 2]
            count += _add_ngrams(total, marked, table, inputs)
        start = at + 1
    return total / np.float32(count)


@njit(cache=True, nogil=True, fastmath=True)
def by_subwords(data, model, place, num_codes, least):  # type: ignore[no-untyped-def]
    """The place of the most probable code, its probability, and those of all codes, float32.

    ``model`` is `subwords.Subwords.arrays`, ``place[leaf]`` where its code stands. Branches less
    probable than ``least`` count as 0.
    """
    dictionary, table, inputs, children, outputs = model
    mean = _mean_vector(data, dictionary, table, inputs)
    leaves = len(children) + 1
    reached = np.zeros(2 * leaves - 1, np.float32)
    reached[2 * leaves - 2] = 1.0
    found = np.zeros(num_codes, np.float32)
    for inner in range(leaves - 2, -1, -1):
        probability = reached[leaves + inner]
        if probability < least:
            continue
        score = np.float32(0.0)
        for column in range(len(mean)):
            score += outputs[inner, column] * mean[column]
        right = np.float32(1.0) / (np.float32(1.0) + np.exp(-score))
        for side in range(2):
            share = probability * (right if side else np.float32(1.0) - right)
            child = children[inner, side]
            if child < leaves:
                found[place[child]] += share
            else:
                reached[child] = share
    best = np.argmax(found)
    return best, min(found[best], np.float32(1.0)), found


@njit(cache=True, nogil=True)
def _visits(data, moves, row_of_state, features):  # type: ignore[no-untyped-def]
    """The features on the automaton's way through ``data``, sorted."""
    state, count = np.int64(0), 0
    visited = np.empty(len(data), np.int32)
    for at in range(len(data)):
        state = np.int64(moves[(np.int64(row_of_state[state]) << 8) + data[at]])
        if features[state] >= 0:
            visited[count] = features[state]
            count += 1
    found = visited[:count]
    found.sort()
    return found


@njit(cache=True, nogil=True, fastmath=True)
def by_bytes(data, model, place, num_codes):  # type: ignore[no-untyped-def]
    """The probability of every code, float32; all 0 where ``data`` has no feature.

    ``model`` is langid.py's automaton (moves, rows of states, features), the weights of the
    features, of half precision as their bits, uint16 [features, classes], and the priors.
    ``place[class]`` is where its code stands.
    """
    moves, row_of_state, features, weights, priors = model
    visited = _visits(data, moves, row_of_state, features)
    found = np.zeros(num_codes, np.float32)
    if not len(visited):
        return found
    scores = priors.copy()
    bits = np.empty(len(priors), np.uint32)
    numbers = bits.view(np.float32)
    first = 0
    for at in range(1, len(visited) + 1):
        if at < len(visited) and visited[at] == visited[first]:
            continue
        count = np.float32(np.log1p(np.float32(at - first))) * _HALF
        row = weights[visited[first]]
        for each in range(len(bits)):
            half = np.uint32(row[each])
            bits[each] = ((half & np.uint32(0x7FFF)) << np.uint32(13)) | (
                (half & np.uint32(0x8000)) << np.uint32(16)
            )
        for each in range(len(bits)):
            scores[each] += count * numbers[each]
        first = at
    scores /= np.float32(np.sqrt(len(data)))  # keeps probabilities alike over lengths
    scores = np.exp(scores - scores.max())
    scores /= scores.sum()
    for each in range(len(scores)):
        found[place[each]] += scores[each]
    return found


@njit(cache=True, nogil=True)
def agreed(first, second, least):  # type: ignore[no-untyped-def]
    """The place of the code that both together find most probable, and its probability.

    Whatever is less probable than ``least`` to one of them counts as ``least``.
    """
    best, highest, total = 0, 0.0, 0.0
    for each in range(len(first)):
        odds = np.float64(max(first[each], least)) * np.float64(max(second[each], least))
        total += odds
        if odds >= highest:
            best, highest = each, odds
    return best, highest / total
