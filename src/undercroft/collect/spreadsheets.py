"""Spreadsheets -> HTML, read in a process of its own.

Two cells in far corners are a file of 6 kB, and make of the sheet a table of 17 billion cells; the
library that reads it does not say no but ends its process. So that process is not ours, and has
no more memory and time than sheets of people take.
"""

from __future__ import annotations

import html
import io
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, Final

from undercroft.collect.text import Unreadable
from undercroft.errors import MissingExtra

MOST_MEMORY_BYTES: Final = 2 << 30
MOST_SECONDS: Final = 120.0
_MOST_CELLS: Final = 5_000_000  # of one sheet
_MOST_ROWS: Final = 100_000
_REFUSED: Final = 3  # exit code; what it prints is the reason


def sheets_html(data: bytes) -> str:
    """A heading and a table for each sheet. Raises `Unreadable`."""
    if find_spec("python_calamine") is None:
        raise MissingExtra("python-calamine", "data")
    command = (sys.executable, "-P", "-m", "undercroft.collect.spreadsheets")
    try:
        done = subprocess.run(
            command, input=data, capture_output=True, timeout=MOST_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unreadable(f"bomb: it takes more than {MOST_SECONDS:g} s to read") from None
    if done.returncode == _REFUSED:
        raise Unreadable(done.stdout.decode("utf-8", "replace"))
    if done.returncode:
        raise Unreadable("bomb: it takes more memory to read than spreadsheets do")
    return done.stdout.decode("utf-8", "replace")


def tagged(tag: str, text: str, *, keeps_empty: bool = False) -> str:
    """An element with ``text`` in it; nothing where that is blank."""
    return f"<{tag}>{html.escape(text)}</{tag}>" if text.strip() or keeps_empty else ""


def table(rows: Any) -> str:
    """A table of ``rows`` of cells."""
    lines = ("".join(tagged("td", _number(cell), keeps_empty=True) for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _number(cell: Any) -> str:
    """Spreadsheets hold all numbers as fractions; whole ones are shown as such."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _sheets(data: bytes) -> Iterator[str]:
    from python_calamine import CalamineWorkbook

    book = CalamineWorkbook.from_filelike(io.BytesIO(data))
    for name in book.sheet_names:
        sheet = book.get_sheet_by_name(name)
        if sheet.height * sheet.width > _MOST_CELLS:
            raise Unreadable(f"bomb: the sheet {name!r} has {sheet.height * sheet.width:,} cells")
        rows = sheet.to_python(skip_empty_area=True)
        if rows:
            yield tagged("h1", name) + table(rows[:_MOST_ROWS])


def main() -> int:
    """Read a spreadsheet from standard input and write HTML, or why not, to standard output."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    code = 0
    try:
        said = "".join(_sheets(sys.stdin.buffer.read()))
    except Unreadable as refusal:
        said, code = str(refusal), _REFUSED
    except Exception as error:
        is_locked = "password" in f"{type(error).__name__} {error}".lower()
        reason = "encrypted" if is_locked else "broken_office"
        said, code = f"{reason}: the spreadsheet cannot be read ({error})", _REFUSED
    sys.stdout.buffer.write(said.encode("utf-8", "replace"))
    return code


if __name__ == "__main__":
    sys.exit(main())
