"""What a GGUF file says of itself before its tensors, read without the ``gguf`` package.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Final

from undercroft.errors import BadInput

_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9


def raw_values(file: Path) -> Mapping[str, bytes]:
    """Key -> its value as it stands in the file, with its type in front. Raises `BadInput`."""
    try:
        with file.open("rb") as stream:
            if stream.read(4) != b"GGUF":
                raise ValueError("it does not begin with GGUF")
            _version, _tensors, count = struct.unpack("<IQQ", stream.read(20))
            found = {}
            for _ in range(count):
                key = _string(stream)[8:].decode()
                kind = stream.read(4)
                found[key] = kind + _value(stream, int.from_bytes(kind, "little"))
            return found
    except (OSError, ValueError, struct.error, KeyError) as error:
        raise BadInput(f"{file} is not a GGUF file.", f"{error}.") from error


def text(values: Mapping[str, bytes], key: str) -> str:
    """The string at ``key``, empty when there is none."""
    return values[key][12:].decode(errors="replace") if key in values else ""


def _string(stream: BinaryIO) -> bytes:
    head = _exactly(stream, 8)
    return head + _exactly(stream, int.from_bytes(head, "little"))


def _value(stream: BinaryIO, kind: int) -> bytes:
    if kind == _STRING:
        return _string(stream)
    if kind != _ARRAY:
        return _exactly(stream, _SIZES[kind])
    head = _exactly(stream, 12)
    inner, count = struct.unpack("<IQ", head)
    if inner in _SIZES:
        return head + _exactly(stream, _SIZES[inner] * count)
    return head + b"".join(_value(stream, inner) for _ in range(count))


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise ValueError("it ends too early")
    return data
