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
from undercroft.curate.signals import Measured, measure, shares
from undercroft.curate.toxicity import LANGUAGE, toxicity
from undercroft.detect import find, identify, score
from undercroft.detect.generated import EXCESS
from undercroft.records import Finding

if TYPE_CHECKING:
    import pyarrow as pa

    from undercroft.settings import CurateSettings

#: Columns that a document has from its raw row.
TAKEN_OVER: Final = (
    *("id", "source", "uri", "title", "group", "mime", "licence", "consent", "usage", "subject"),
)
_DETECTORS: Final = ("pii", "identity", "secret", "injection", "malware", "spam", "generated")
_MALICIOUS: Final = 0.7  # the score from which a sign of malicious code counts


@dataclass(frozen=True, slots=True)
class Raw:
    """One raw document: its columns `TAKEN_OVER`, its payload, and the digest of what its row in
    ``documents`` is made from."""

    columns: Mapping[str, Any]
    payload: bytes
    made_from: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """What rows have only when it is asked for: the measures of the published filters, the numbers
    of the lines, the names that a spaCy pipeline finds."""

    heuristics: bool = False
    lines: bool = False
    names: str = ""

    @classmethod
    def by(cls, settings: CurateSettings) -> Wanted:
        return cls(bool(settings.filters), settings.cut_repeated != "nothing", settings.names)


def document_rows(batch: Sequence[Raw], wanted: Wanted) -> pa.Table:
    """The rows of ``batch`` (`lake.schemas.DOCUMENTS`), in its order."""
    import pyarrow as pa

    texts = [text_of(raw.payload, raw.columns["mime"]) for raw in batch]
    array = pa.array(texts, pa.large_string())
    measured = measure(array, threads=1)
    columns = _columns(measured)
    toxic = [{"toxicity": a, "worst_toxicity": b} for a, b in zip(*toxicity(measured), strict=True)]
    published = _published(array) if wanted.heuristics else [None] * len(batch)
    numbered = _numbered(array) if wanted.lines else [None] * len(batch)
    read = [_read(text, wanted.names) for text in texts]
    return _table(
        {
            **raw.columns,
            "text": text,
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "made_from": raw.made_from,
            **{name: column[at] for name, column in columns.items()},
            **read[at],
            **(toxic[at] if read[at]["language"] == LANGUAGE else {}),
            "measures": published[at],
            "lines": numbered[at],
        }
        for at, (raw, text) in enumerate(zip(batch, texts, strict=True))
    )


def quarantined_row(raw: Raw, reason: str) -> pa.Table:
    """The row of a document that no worker got through, without text and with the ``reason``."""
    from undercroft.lake.schemas import DOCUMENTS

    empty = {
        **dict.fromkeys([name for name in DOCUMENTS.names if name.startswith("num_")], 0),
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


def _columns(measured: Measured) -> dict[str, list[Any]]:
    """The measured columns and the band keys, by row."""
    from undercroft.curate.bands import band_keys

    columns = {name: column.tolist() for name, column in measured.columns.items()}
    keys = band_keys(measured.words, measured.starts, threads=1)
    excess = 1000 * shares(measured, EXCESS)
    return {**columns, "excess_words": excess.tolist(), "bands": [row.tobytes() for row in keys]}


def _published(texts: pa.LargeStringArray) -> list[Mapping[str, float]]:
    """The measures of the published heuristics, by row."""
    from undercroft.curate.heuristics import measures_of
    from undercroft.lake.schemas import MEASURES

    found = measures_of(texts, threads=1).tolist()
    return [dict(zip(MEASURES, row, strict=True)) for row in found]


def _numbered(texts: pa.LargeStringArray) -> list[bytes]:
    from undercroft.curate.lines import line_numbers

    return line_numbers(texts)


def _read(text: str, pipeline: str) -> dict[str, Any]:
    """What the detectors say of ``text``."""
    code, confidence, segments = identify(text)
    findings = find(text, _DETECTORS)
    if pipeline:
        from undercroft.curate.names import names

        findings = sorted([*findings, *names(text, pipeline)], key=lambda each: each.start)
    families = Counter(finding.kind.partition(".")[0] for finding in findings)
    return {
        "language": code,
        "language_score": confidence,
        "segments": [segment._asdict() for segment in segments],
        "num_pii": families["pii"] + families["identity"],
        "num_secrets": families["secret"],
        "num_injections": families["injection"],
        "num_names": families["name"],
        "num_malicious": sum(_is_malicious(finding) for finding in findings),
        "spam": score(findings, "spam"),
        "generated": score(findings, "generated"),
        "findings": [asdict(finding) for finding in findings],
    }


def _is_malicious(finding: Finding) -> bool:
    return finding.kind.startswith("malware.") and finding.score >= _MALICIOUS
