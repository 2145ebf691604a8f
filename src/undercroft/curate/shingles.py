"""The runs of words of the texts that stay, at hand for comparison without filling the memory."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from typing import IO

import numpy as np
from numpy.typing import NDArray

_ITEM_BYTES = 8


@dataclass
class Kept:
    """Sorted shingle hashes (uint64) by index; what is spilled lies in a file without a name."""

    _recent: dict[int, NDArray[np.uint64]] = field(default_factory=dict)
    _places: dict[int, tuple[int, int]] = field(default_factory=dict)
    _file: IO[bytes] = field(default_factory=tempfile.TemporaryFile)

    def add(self, index: int, shingles: NDArray[np.uint64]) -> None:
        self._recent[index] = shingles

    def of(self, index: int) -> NDArray[np.uint64]:
        if index in self._recent:
            return self._recent[index]
        start, count = self._places[index]
        self._file.seek(start)
        return np.frombuffer(self._file.read(count * _ITEM_BYTES), np.uint64)

    def spill(self) -> None:
        """Move what is held in memory to the file."""
        self._file.seek(0, 2)
        for index, shingles in self._recent.items():
            self._places[index] = self._file.tell(), len(shingles)
            self._file.write(shingles.tobytes())
        self._recent.clear()

    def clear(self) -> None:
        """Forget everything."""
        if self._places:
            self._file.seek(0)
            self._file.truncate()
        self._recent.clear()
        self._places.clear()
