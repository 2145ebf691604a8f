"""Rows that cannot be used: kept beside what was made of the others, with the reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

REFUSED_FILE: Final = "refused.jsonl"
_KEPT_CHARS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that cannot be used, and why.

    ``line`` counts from 1, and is 0 where there is none; ``row`` is how the row begins, or its id.
    """

    source: str
    line: int
    reason: str
    row: str = ""


def refused_line(source: str, number: int, reason: str, line: bytes | str) -> Refused:
    """The row that is ``line`` ``number`` of a file, whatever bytes it holds."""
    text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
    whole = text.encode("utf-8", "replace").decode()
    return Refused(source, number, reason, whole[:_KEPT_CHARS].strip())


def write_refused(path: Path, refused: Iterable[Refused]) -> None:
    """Write them to the file ``path``, one JSON object a line."""
    with path.open("w", encoding="utf-8") as out:
        for each in refused:
            out.write(json.dumps(asdict(each), ensure_ascii=False) + "\n")


def reasons_of(refused: Iterable[Refused]) -> Mapping[str, int]:
    """How often each reason was given, the most frequent first."""
    return dict(Counter(each.reason for each in refused).most_common())
