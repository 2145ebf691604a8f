"""The local file that every answer is written to before its last byte is sent.

One JSON line per row, appended in one write, so that a process that is killed loses no line it
wrote; `sync` makes lines outlast a power cut too. Lines are in segments: the one being written and
closed ones, which `recorder` moves to the lake and deletes. A segment may be moved twice after a
crash; rows carry their id, so moving is idempotent.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from undercroft.serve.journal import rows
from undercroft.serve.journal.rows import Row


class Spool:
    """The segments in ``folder``; safe to share between threads, not between processes."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._lock = threading.Lock()
        self._number = max((_number(path) for path in self._segments()), default=0)
        self._file = -1
        self._torn = False
        self.lines = 0  # in the segment being written
        self._dirty = False

    def append(self, row: Row) -> None:
        """Write ``row``; it survives the end of this process from here on. Raises `OSError`."""
        line = rows.encode(row) + b"\n"
        with self._lock:
            if self._file < 0:
                self._open_next()
            # After a write that the disk cut short, the broken line must end before the next one.
            whole = b"\n" + line if self._torn else line
            self._torn = True
            if os.write(self._file, whole) == len(whole):
                self._torn = False
            else:
                raise OSError(28, "the disk is full")
            self.lines += 1
            self._dirty = True

    def sync(self) -> None:
        """Force what was appended to the disk."""
        with self._lock:
            if not self._dirty or self._file < 0:
                return
            self._dirty = False
            copy = os.dup(self._file)  # the segment may be closed while we wait for the disk
        try:
            os.fsync(copy)
        finally:
            os.close(copy)

    def closed_segments(self) -> list[Path]:
        """Close the segment being written, if it has lines; every closed segment, oldest first."""
        with self._lock:
            full, self._file = (self._file, -1) if self.lines else (-1, self._file)
            writing = self._path(self._number) if self._file >= 0 else None
            self.lines, self._dirty = 0, False
        if full >= 0:
            os.fsync(full)
            os.close(full)
        return [path for path in self._segments() if path != writing]

    def waiting(self) -> int:
        """Rows that are not in the lake yet, at least: those of the segment being written."""
        return self.lines if self._file >= 0 else 0

    def _open_next(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_EXCL
        self._file = os.open(self._path(self._number + 1), flags, 0o600)
        self._number += 1
        self._torn = False
        self.lines = 0

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}.jsonl"

    def _segments(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*.jsonl"))


def read(segment: Path) -> Iterator[Row]:
    """The rows of ``segment``. A line cut by a crash was never acknowledged and is passed over."""
    for line in segment.read_bytes().split(b"\n"):
        try:
            yield rows.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue


def _number(path: Path) -> int:
    return int(path.stem)
