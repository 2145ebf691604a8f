"""Files that a command writes where it was told to."""

from __future__ import annotations

from pathlib import Path

from undercroft.errors import BadInput


def write(path: Path, text: str) -> None:
    """Write ``text``; raises `BadInput` where that cannot be done."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(
            f"{path} cannot be written.", f"{error.strerror}.", "Name another file."
        ) from error
