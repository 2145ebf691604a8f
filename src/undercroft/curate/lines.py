"""Texts -> a number for every line, equal where lines say the same; and lines -> paragraphs.

What counts are letters and digits, without case, any digit like any other (as in CCNet, Wenzek et
al. 2020): a footer is the same in every year. The lowest byte of a number is how many such
characters the line has, 255 at most; a line without any is 0, and parts paragraphs.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from undercroft.curate import kernels
from undercroft.curate.signals import buffers

if TYPE_CHECKING:
    import pyarrow as pa

_NEWLINE_BYTE: Final = 10


def line_numbers(texts: pa.LargeStringArray) -> list[bytes]:
    """The numbers of the lines of each text, as the bytes of uint64."""
    data, offsets = buffers(texts)
    room = np.count_nonzero(data[offsets[0] : offsets[-1]] == _NEWLINE_BYTE) + len(texts)
    numbers, starts = np.zeros(room, np.uint64), np.zeros(len(offsets), np.int64)
    kernels.number_lines(data, offsets, numbers, starts)
    return [numbers[a:b].tobytes() for a, b in pairwise(starts.tolist())]


def paragraphs(
    numbers: NDArray[np.uint64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """Of documents whose lines end at ``ends`` in ``numbers``: the number of each paragraph, its
    document, and the first and one past the last of its lines there."""
    found, documents = np.empty(len(numbers), np.uint64), np.empty(len(numbers), np.int64)
    firsts, lasts = np.empty(len(numbers), np.int32), np.empty(len(numbers), np.int32)
    used = kernels.join_lines(numbers, ends, found, documents, firsts, lasts)
    return found[:used], documents[:used], firsts[:used], lasts[:used]


def sizes(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """How many letters and digits the line or paragraph of each number has, 255 at most."""
    return numbers & np.uint64(0xFF)
