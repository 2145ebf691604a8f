"""Weights -> four bits each, so that what the layer says changes least, not the weights.

Columns are rounded one after another, and what rounding one did to the layer's output is taken
back by those still to come (GPTQ, Frantar et al., arXiv 2210.17323, eq. 2 and 3, in the order of
columns). How much columns stand in for each other is told by the second moments of the layer's
inputs (`calibration`). Without them each weight goes to its nearest.

A block is 32 weights of a row with one 16-bit scale; layouts are ggml's ``block_q4_0`` and
``block_iq4_nl`` (ggml-common.h).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

BLOCK: Final = 32

#: What the 16 codes stand for, times the scale.
LEVELS: Final = {
    "Q4_0": np.arange(-8, 8, dtype=np.float32),
    "IQ4_NL": np.array(
        (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113), np.float32
    ),
}

#: Shares by which a scale may be off the one that holds the largest weight of a block exactly.
TRIED: Final = (-0.06, -0.03, 0.0, 0.03, 0.06)

#: Share of the mean of the moments' diagonal that is added to it, as in the paper.
DAMPING: Final = 0.01


@dataclass(frozen=True, slots=True)
class Rounded:
    """``codes`` [rows, columns] of 0 to 15, and ``scales`` [rows, columns / 32]."""

    kind: str
    codes: NDArray[np.uint8]
    scales: NDArray[np.float16]

    def values(self) -> Array:
        """What they stand for, [rows, columns]."""
        levels = LEVELS[self.kind][self.codes]
        return np.asarray(levels * np.repeat(self.scales.astype(np.float32), BLOCK, axis=1))

    def packed(self) -> NDArray[np.uint8]:
        """The bytes of the blocks, [rows, columns / 32 * 18]."""
        rows = self.codes.shape[0]
        halves = self.codes.reshape(rows, -1, 2, BLOCK // 2)
        nibbles = halves[:, :, 0] | halves[:, :, 1] << 4
        scales = self.scales[:, :, None].view(np.uint8)
        return np.concatenate([scales, nibbles], axis=2).reshape(rows, -1)


def rounded(weight: Array, kind: str, moments: Array | None = None) -> Rounded:
    """``weight`` [rows, columns] in ``kind``; ``moments`` [columns, columns] of its inputs.

    Columns are a multiple of 32.
    """
    left = np.ascontiguousarray(weight.T, dtype=np.float32)  # [columns, rows]: a column at a time
    count = left.shape[0]
    matter = np.ones(count, np.float32) if moments is None else np.diag(moments).copy()
    undo = None if moments is None else _undoing(moments)
    codes = np.empty(left.shape, np.uint8)
    scales = np.empty((count // BLOCK, left.shape[1]), np.float16)
    for start in range(0, count, BLOCK):
        end = start + BLOCK
        scale = _scale(left[start:end], matter[start:end], kind)
        scales[start // BLOCK] = scale
        if undo is None:
            codes[start:end] = _nearest(_divided(left[start:end], scale), kind)
            continue
        errors = np.empty((BLOCK, left.shape[1]), np.float32)
        for column in range(start, end):
            codes[column] = _nearest(_divided(left[column], scale), kind)
            said = LEVELS[kind][codes[column]] * scale
            error = errors[column - start] = (left[column] - said) / undo[column, column]
            left[column + 1 : end] -= undo[column, column + 1 : end, None] * error
        left[end:] -= undo[start:end, end:].T @ errors
    return Rounded(kind, np.ascontiguousarray(codes.T), np.ascontiguousarray(scales.T))


def _undoing(moments: Array) -> Array:
    """The upper Cholesky factor of the inverse of the damped moments."""
    damped = moments.astype(np.float64)
    damped[np.diag_indices_from(damped)] += DAMPING * max(np.diag(damped).mean(), 1e-12)
    return np.asarray(np.linalg.cholesky(np.linalg.inv(damped)).T, np.float32)


def _scale(block: Array, matter: Array, kind: str) -> Array:
    """Of ``block`` [32, rows] the scale of each row with the least error, as 16 bits hold it; the
    largest weight goes to the outermost level, which in both kinds is a negative one."""
    largest = np.take_along_axis(block, np.abs(block).argmax(0)[None], 0)[0]
    best, least = np.zeros_like(largest), np.full_like(largest, np.inf)
    for share in TRIED:
        guess = largest / (LEVELS[kind][0] * (1 + share))
        levels = LEVELS[kind][_nearest(_divided(block, guess), kind)]
        weighed = matter[:, None] * levels
        whole = (weighed * levels).sum(0)
        scale = np.where(whole > 0, (weighed * block).sum(0) / np.where(whole > 0, whole, 1), 0)
        scale = scale.astype(np.float16).astype(np.float32)
        error = (matter[:, None] * (block - levels * scale) ** 2).sum(0)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    return np.asarray(best, np.float32)


def _divided(values: Array, scale: Array) -> Array:
    return np.asarray(np.where(scale != 0, values / np.where(scale != 0, scale, 1), 0), np.float32)


def _nearest(values: Array, kind: str) -> Any:
    """The code of the level nearest to each."""
    if kind == "Q4_0":
        return (np.rint(values).clip(-8, 7) + 8).astype(np.uint8)
    return _NEAREST[np.rint(values).clip(-128, 127).astype(np.int16) + 128]


#: The code of the level nearest to each whole number from -128.
_NEAREST: Final = (
    np.abs(np.arange(-128, 128)[:, None] - LEVELS["IQ4_NL"]).argmin(1).astype(np.uint8)
)
