"""What ranks tell whoever watches over them, as files in a folder that all can see.

A pulse is 24 bytes a rank: how often its clock thread ticked, how often the training itself said
that it goes on, and the step it is at. A process that is stopped does not tick; one whose training
hangs ticks but does not beat. What the first rank tells is a line of JSON each, in one file for all
attempts, so that nothing is lost with whoever was to read it.
"""

from __future__ import annotations

import json
import os
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PULSE = struct.Struct("<qqq")
TICK_S = 0.25


@dataclass(frozen=True, slots=True)
class Pulse:
    """The signs of life of one rank; all zero before its first."""

    ticks: int = 0
    beats: int = 0
    step: int = 0


class Heart:
    """Writes this process's pulse; ``orphaned`` is called once it has another parent."""

    def __init__(self, path: Path, orphaned: Callable[[], None]) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
        self._parent = os.getppid()
        self._orphaned = orphaned
        self._ticks = self._beats = self._step = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._tick, name="pulse", daemon=True).start()

    def beat(self, step: int | None = None) -> None:
        """Training goes on, and is at ``step``."""
        with self._lock:
            self._beats += 1
            self._step = self._step if step is None else step
            self._write()

    def _tick(self) -> None:
        pause = threading.Event()
        while not pause.wait(TICK_S):
            if os.getppid() != self._parent:
                self._orphaned()
            with self._lock:
                self._ticks += 1
                self._write()

    def _write(self) -> None:
        os.pwrite(self._file, _PULSE.pack(self._ticks, self._beats, self._step), 0)


def pulse(path: Path) -> Pulse:
    """What `Heart` wrote last."""
    try:
        found = path.read_bytes()
    except OSError:
        return Pulse()
    return Pulse(*_PULSE.unpack(found)) if len(found) == _PULSE.size else Pulse()


class Told:
    """The lines that first ranks wrote, read on from where a reader was, even a former process.

    Each line is given at least once: one whose reader died before `done` is given again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mark = path.with_suffix(".read")
        self._at = int(self._mark.read_text() or 0) if self._mark.exists() else 0

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """What was told since; a line that a dying rank left half written is left out."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._at)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._at += len(line)
                try:
                    yield json.loads(line)
                except ValueError:
                    continue

    def done(self) -> None:
        """What was given so far has been kept elsewhere."""
        half = self._mark.with_suffix(".half")
        half.write_text(str(self._at))
        half.rename(self._mark)


class Teller:
    """Writes lines for `Told`."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        os.write(self._file, b"\n")  # ends what another attempt may have left half written

    def tell(self, **what: Any) -> None:
        os.write(self._file, json.dumps(what, default=str).encode() + b"\n")
