"""Raw documents -> rows of the table ``documents``: the text, and every signal of it alone.

What a document has to do with others (duplicates) is not here: a row depends on its raw document
and on nothing else, so that rows can be made by any worker, in any order, and kept for as long as
the raw document stays as it is.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from undercroft.curate.extract import text_of
from undercroft.detect import find, identify

if TYPE_CHECKING:
    import pyarrow as pa

#: Columns that a document has from its raw row.
TAKEN_OVER: Final = ("id", "source", "uri", "title", "group", "mime", "licence", "usage", "subject")
_DETECTORS: Final = ("pii", "identity", "secret", "injection")


@dataclass(frozen=True, slots=True)
class Raw:
    """One raw document: its columns `TAKEN_OVER`, its payload, and the digest of what its row in
    ``documents`` is made from."""

    columns: Mapping[str, Any]
    payload: bytes
    made_from: bytes


def document_rows(batch: Sequence[Raw], *, heuristics: bool = False) -> pa.Table:
    """The rows of ``batch`` (`lake.schemas.DOCUMENTS`), in its order.

    ``heuristics`` adds the measures of the published filters.
    """
    import pyarrow as pa

    texts = [text_of(raw.payload, raw.columns["mime"]) for raw in batch]
    array = pa.array(texts, pa.large_string())
    measured = _measured(array)
    published = _published(array) if heuristics else [None] * len(batch)
    return _table(
        {
            **raw.columns,
            "text": text,
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "made_from": raw.made_from,
            **{name: column[at] for name, column in measured.items()},
            **_read(text),
            "measures": published[at],
        }
        for at, (raw, text) in enumerate(zip(batch, texts, strict=True))
    )


def quarantined_row(raw: Raw, reason: str) -> pa.Table:
    """The row of a document that no worker got through, without text and with the ``reason``."""
    empty = {
        **dict.fromkeys(("num_chars", "num_words", "num_pii", "num_secrets", "num_injections"), 0),
        "text": "",
        "sha256": hashlib.sha256(b"").hexdigest(),
        "findings": [],
    }
    return _table([{**raw.columns, "made_from": raw.made_from, **empty, "quarantined": reason}])


def _table(rows: Any) -> pa.Table:
    import pyarrow as pa

    from undercroft.lake import with_digests
    from undercroft.lake.schemas import DOCUMENTS

    return with_digests(pa.Table.from_pylist(list(rows), DOCUMENTS))


def _measured(texts: pa.LargeStringArray) -> dict[str, list[Any]]:
    """The measured columns and the band keys, by row."""
    from undercroft.curate.bands import band_keys
    from undercroft.curate.signals import measure

    measured = measure(texts, threads=1)
    keys = band_keys(measured.words, measured.starts, threads=1)
    columns = {name: column.tolist() for name, column in measured.columns.items()}
    return {**columns, "bands": [row.tobytes() for row in keys]}


def _published(texts: pa.LargeStringArray) -> list[Mapping[str, float]]:
    """The measures of the published heuristics, by row."""
    from undercroft.curate.heuristics import measures_of
    from undercroft.lake.schemas import MEASURES

    found = measures_of(texts, threads=1).tolist()
    return [dict(zip(MEASURES, row, strict=True)) for row in found]


def _read(text: str) -> dict[str, Any]:
    """What the detectors say of ``text``."""
    code, confidence, segments = identify(text)
    findings = find(text, _DETECTORS)
    families = Counter(finding.kind.partition(".")[0] for finding in findings)
    return {
        "language": code,
        "language_score": confidence,
        "segments": [segment._asdict() for segment in segments],
        "num_pii": families["pii"] + families["identity"],
        "num_secrets": families["secret"],
        "num_injections": families["injection"],
        "findings": [asdict(finding) for finding in findings],
    }
