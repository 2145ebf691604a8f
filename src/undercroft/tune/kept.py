"""What a search has measured, kept line by line, so that one that was stopped goes on where it was.

A file holds one search: the same candidates, tasks and engine. It is taken away when the search
ends, so that the next one measures anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from undercroft.tune.fidelity import Said
from undercroft.tune.speed import Speed


class Kept:
    """Speeds by turn, and what models thought by candidate. ``file`` None: nothing is kept."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._found: dict[str, Any] = {}
        if file is not None and file.exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                try:
                    self._found.update(json.loads(line))
                except ValueError:
                    break  # the line that was being written when the search was stopped

    def __len__(self) -> int:
        return len(self._found)

    def speed(self, turn: str) -> Speed | None:
        """What was measured at ``turn``, if it was."""
        told = self._found.get(f"speed {turn}")
        return Speed(**told) if told is not None else None

    def thoughts(self, name: str) -> Sequence[Said] | None:
        """What the candidate ``name`` thought, if it was asked."""
        told = self._found.get(f"thoughts {name}")
        return [_said(each) for each in told] if told is not None else None

    def keep_speed(self, turn: str, found: Speed) -> None:
        """Write it down."""
        self._put(f"speed {turn}", asdict(found))

    def keep_thoughts(self, name: str, thoughts: Sequence[Said]) -> None:
        """Write them down."""
        self._put(f"thoughts {name}", [asdict(each) for each in thoughts])

    def done(self) -> None:
        """The search has ended."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def _put(self, key: str, value: Any) -> None:
        self._found[key] = json.loads(json.dumps(value))
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({key: value}) + "\n")


def _said(told: Mapping[str, Any]) -> Said:
    """JSON has no numbers as keys."""
    likely = ({int(token): each for token, each in step.items()} for step in told["likely"])
    return Said(tuple(told["chosen"]), tuple(likely))
