"""Tensors of a safetensors file or of its shards, one at a time, without loading the rest.

Our own reader, because the library's numpy form has no bfloat16 and its torch form would need
torch. The format: 8 bytes of little-endian header length, a JSON header, then the data
(https://huggingface.co/docs/safetensors).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undercroft.errors import BadInput

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

_DTYPES: Mapping[str, Any] = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True, slots=True)
class _Place:
    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int


class Weights(Mapping[str, NDArray[np.float32]]):
    """Name -> float32 array, read when asked for. ``single`` is the file that holds all where
    there are no shards. Raises `BadInput` for what cannot be read."""

    def __init__(self, folder: Path, single: str = SINGLE) -> None:
        self._places: dict[str, _Place] = {}
        for file in _files(folder, single):
            self._places.update(_read_header(file))

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        place = self._places[name]
        if place.dtype not in _DTYPES:
            raise BadInput(
                f"Tensor {name} of {place.file} has the number format {place.dtype}.",
                f"Weights are read as {', '.join(_DTYPES)}.",
                "Save the model unquantised and try again.",
            )
        raw = np.memmap(
            place.file, _DTYPES[place.dtype], mode="r", offset=place.offset, shape=place.shape
        )
        if place.dtype == "BF16":  # the upper half of a float32
            return (raw.astype(np.uint32) << 16).view(np.float32)
        return raw.astype(np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        """Without reading the data."""
        return self._places[name].shape


def _files(folder: Path, single: str) -> list[Path]:
    if (folder / INDEX).exists():
        shards = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
        return [folder / shard for shard in sorted(set(shards))]
    if (folder / single).exists():
        return [folder / single]
    raise BadInput(
        f"{folder} holds no safetensors weights.",
        f"Neither {single} nor {INDEX} is there.",
        "Save the model with transformers' save_pretrained.",
    )


def _read_header(file: Path) -> dict[str, _Place]:
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(length, file.stat().st_size)))
            return {
                name: _Place(
                    file,
                    entry["dtype"],
                    tuple(entry["shape"]),
                    8 + length + entry["data_offsets"][0],
                )
                for name, entry in header.items()
                if name != "__metadata__"
            }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{file} is not a safetensors file.", f"{error}.") from error
