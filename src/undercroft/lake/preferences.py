"""The file of an artifact ``preferences:NAME``: a pair of answers a line.

Pairs of people's own words stay sealed in it, as the gateway wrote them: once the key of one of
their persons is destroyed, the pair can be read by nobody, here as everywhere.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from undercroft.errors import BadInput
from undercroft.records import Preference, Turn
from undercroft.trust.sealed import opened

if TYPE_CHECKING:
    from undercroft.trust.vault import Vault

PAIRS_FILE: Final = "pairs.jsonl"
REFUSED_FILE: Final = "refused.jsonl"
_SEALED: Final = ("question_sealed", "answer_sealed")


@dataclass(frozen=True, slots=True)
class SealedPair:
    """A pair of rows of the requests table, whose questions are the same."""

    id: str
    source: str
    chosen: Mapping[str, Any]
    rejected: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that is no pair, and why.

    ``line`` counts from 1, and is 0 where there is none; ``row`` is how the row begins, or its id.
    """

    source: str
    line: int
    reason: str
    row: str = ""


def write_preferences(
    folder: Path, pairs: Iterable[Preference | SealedPair], refused: Iterable[Refused]
) -> None:
    """Write both files of the artifact to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / PAIRS_FILE, map(_record, pairs))
    _write(folder / REFUSED_FILE, map(asdict, refused))


def read_preferences(folder: Path, vault: Vault) -> tuple[list[Preference], int]:
    """The pairs in ``folder``, and how many more there are whose key was destroyed.

    Raises `BadInput` naming the line that is no pair.
    """
    path = folder / PAIRS_FILE
    found: list[Preference] = []
    gone = 0
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                pair = _preference(json.loads(line), vault)
            except (ValueError, TypeError, KeyError) as error:
                raise BadInput(
                    f"Line {number} of {path} is no preference.",
                    f"{type(error).__name__}: {error}.",
                    "Make the pairs again with: undercroft align",
                ) from error
            gone += pair is None
            found += [pair] if pair is not None else []
    return found, gone


def _record(pair: Preference | SealedPair) -> dict[str, Any]:
    if isinstance(pair, Preference):
        return asdict(pair)
    rows = {"chosen": _sealed(pair.chosen), "rejected": _sealed(pair.rejected)}
    return {"id": pair.id, "source": pair.source, "sealed": rows}


def _sealed(row: Mapping[str, Any]) -> dict[str, str]:
    named = {"id": str(row["id"]), "subject": str(row["subject"])}
    return named | {name: b64encode(row[name]).decode() for name in _SEALED}


def _preference(record: Mapping[str, Any], vault: Vault) -> Preference | None:
    if "sealed" not in record:
        turns = tuple(Turn(**turn) for turn in record["prompt"])
        return Preference(**{**record, "prompt": turns})
    rows = {
        side: {**row, **{name: b64decode(row[name]) for name in _SEALED}}
        for side, row in record["sealed"].items()
    }
    question = opened(vault, rows["chosen"], "question")
    chosen = opened(vault, rows["chosen"], "answer")
    rejected = opened(vault, rows["rejected"], "answer")
    if not question or not chosen or not rejected:
        return None
    prompt = (Turn("user", question),)
    return Preference(record["id"], prompt, chosen, rejected, record["source"])


def _write(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as out:
        for record in records:
            out.write(json.dumps(record, ensure_ascii=False) + "\n")
