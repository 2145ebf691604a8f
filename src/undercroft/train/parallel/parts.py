"""Tensors that several processes wrote, each its blocks, read by any other number of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from undercroft.train.parallel.placement import Part


@dataclass(frozen=True, slots=True)
class _Block:
    """A block of a tensor, in a file."""

    file: Any
    at: tuple[int, ...]
    size: tuple[int, ...]


@dataclass
class Saved(Mapping[str, Tensor]):
    """The tensors in some safetensors files, read when they are asked for.

    ``places`` names, for each file, the tensors in it that are blocks: where they lie in the whole.
    """

    files: Sequence[Path]
    places: Mapping[str, Mapping[str, Part]]
    _blocks: dict[str, list[_Block]] = field(init=False, default_factory=dict)
    _shapes: dict[str, tuple[int, ...]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for path in self.files:
            file: Any = safe_open(path, framework="pt")
            places = self.places.get(path.name, {})
            for name in file.keys():  # noqa: SIM118 - it is not a mapping
                size = tuple(file.get_slice(name).get_shape())
                part = places.get(name) or Part(size, (0,) * len(size))
                self._blocks.setdefault(name, []).append(_Block(file, part.at, size))
                self._shapes[name] = part.whole

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Of the whole tensors, by name."""
        return self._shapes

    def __getitem__(self, name: str) -> Tensor:
        shape = self._shapes[name]
        return self.part(name, (0,) * len(shape), shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def part(self, name: str, at: Sequence[int], size: Sequence[int]) -> Tensor:
        """The block of ``size`` at ``at`` of the whole tensor, from whatever blocks there are.

        Raises `KeyError` for a tensor that is not there, or not all of that block.
        """
        found: Tensor | None = None
        left = torch.Size(size).numel()
        for block in self._blocks[name]:
            first = [max(a, b) for a, b in zip(at, block.at, strict=True)]
            last = [
                min(a + n, b + m) for a, n, b, m in zip(at, size, block.at, block.size, strict=True)
            ]
            if any(f >= e for f, e in zip(first, last, strict=True)):
                continue
            if not size:
                return block.file.get_tensor(name)
            source = tuple(
                slice(f - b, e - b) for f, e, b in zip(first, last, block.at, strict=True)
            )
            piece = block.file.get_slice(name)[source]
            if piece.shape == torch.Size(size):
                return piece
            if found is None:
                found = torch.empty(tuple(size), dtype=piece.dtype)
            found[tuple(slice(f - a, e - a) for f, e, a in zip(first, last, at, strict=True))] = (
                piece
            )
            left -= piece.numel()
        if left:
            raise KeyError(f"{name}: {left} of {torch.Size(size).numel()} numbers are missing")
        return torch.empty(tuple(size)) if found is None else found
