"""Answers written down as they come, so that an evaluation that was killed asks only the rest."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True, slots=True)
class Answered:
    """What one model made of one case.

    ``nll`` is the negative log-likelihood, in nats, of the first ``reference_tokens`` tokens of the
    reference answer after the same prompt; 0 tokens where it was not measured.
    """

    model: str  # "base" or "tuned"
    case: str
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    nll: float = 0.0
    reference_tokens: int = 0


class Journal:
    """One JSON line for each answer in a file that survives the process; use as a context manager.

    A line is on the disk before `append` returns. A last line that was cut short by a crash is
    dropped when the journal is opened again.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.answers: dict[tuple[str, str], Answered] = {}
        self._stream: IO[bytes] | None = None

    def __enter__(self) -> Journal:
        whole = b""
        if self._file.exists():
            whole, _, _ = self._file.read_bytes().rpartition(b"\n")
            whole += b"\n" if whole else b""
        for line in whole.splitlines():
            answered = Answered(**json.loads(line))
            self.answers[answered.model, answered.case] = answered
        self._stream = self._file.open("wb" if not whole else "r+b")
        self._stream.truncate(len(whole))
        self._stream.seek(len(whole))
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def append(self, answered: Answered) -> None:
        assert self._stream is not None, "use the journal as a context manager"
        self._stream.write(json.dumps(asdict(answered)).encode() + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self.answers[answered.model, answered.case] = answered
