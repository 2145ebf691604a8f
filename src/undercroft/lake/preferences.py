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
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from undercroft.errors import BadInput, Tampered
from undercroft.lake.refused import REFUSED_FILE, Refused, reasons_of, refused_line, write_refused
from undercroft.records import Preference, Turn
from undercroft.trust.sealed import opened

if TYPE_CHECKING:
    from undercroft.trust.vault import Vault

PAIRS_FILE: Final = "pairs.jsonl"
_DAMAGED: Final = (ValueError, TypeError, KeyError, AttributeError, RecursionError, Tampered)
_SEALED: Final = ("question_sealed", "answer_sealed")


@dataclass(frozen=True, slots=True)
class SealedPair:
    """A pair of rows of the requests table, whose questions are the same."""

    id: str
    source: str
    chosen: Mapping[str, Any]
    rejected: Mapping[str, Any]


class Pairs(NamedTuple):
    """What is in a file of pairs: those that can be read, how many have a destroyed key, and lines
    that are no pair."""

    found: list[Preference]
    gone: int
    refused: list[Refused]


def write_preferences(
    folder: Path, pairs: Iterable[Preference | SealedPair], refused: Iterable[Refused]
) -> None:
    """Write both files of the artifact to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / PAIRS_FILE).open("w", encoding="utf-8") as out:
        for pair in pairs:
            out.write(json.dumps(_record(pair), ensure_ascii=False) + "\n")
    write_refused(folder / REFUSED_FILE, refused)


def read_preferences(folder: Path, vault: Vault) -> Pairs:
    """The pairs in ``folder``. A damaged line is refused, and the others are read.

    Raises `BadInput` when every line is damaged.
    """
    path = folder / PAIRS_FILE
    pairs = Pairs([], 0, [])
    gone = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                pair = _preference(line, vault)
            except _DAMAGED as error:
                reason = f"{type(error).__name__}: {error}"
                pairs.refused.append(refused_line(path.name, number, reason, line))
                continue
            gone += pair is None
            pairs.found.extend([pair] if pair is not None else [])
    if pairs.refused and not pairs.found and not gone:
        first = next(iter(reasons_of(pairs.refused)))
        raise BadInput(
            f"{path} holds no pair that can be read.",
            f"{len(pairs.refused):,} lines are damaged, most because: {first}.",
            "Make the pairs again with: undercroft align",
        )
    return pairs._replace(gone=gone)


def _record(pair: Preference | SealedPair) -> dict[str, Any]:
    if isinstance(pair, Preference):
        return asdict(pair)
    rows = {"chosen": _sealed(pair.chosen), "rejected": _sealed(pair.rejected)}
    return {"id": pair.id, "source": pair.source, "sealed": rows}


def _sealed(row: Mapping[str, Any]) -> dict[str, str]:
    named = {"id": str(row["id"]), "subject": str(row["subject"])}
    return named | {name: b64encode(row[name]).decode() for name in _SEALED}


def _preference(line: bytes, vault: Vault) -> Preference | None:
    record = msgspec.json.decode(line)
    if "sealed" not in record:
        return msgspec.convert(record, Preference)
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
