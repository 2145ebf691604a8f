"""Signals and verdicts -> the selection: a row for each document, kept or not, by address."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from undercroft.curate import policy
from undercroft.curate.policy import Rule, Verdict
from undercroft.curate.purposes import allowed, listed
from undercroft.curate.repeats import Cuts, cuts
from undercroft.detect import Span, spans
from undercroft.lake import Table
from undercroft.lake.schemas import DUPLICATES, MEASURES, SELECTION
from undercroft.records import Finding
from undercroft.settings import CurateSettings

_BATCH_ROWS: Final = 2_000
_SEPARATORS: Final = re.compile(r"[ \t().-]")
_CODE: Final = re.compile(" [0-9a-f]{8}$")
_COUNTED: Final = ("language", "num_chars", "num_injections")


@dataclass(frozen=True)
class Selected:
    """The selection (`schemas.SELECTION`), by address, and what a dataset's meta says of it."""

    rows: pa.Table
    counts: dict[str, Any]
    removed: Mapping[str, Verdict]


Pseudonym = Callable[[str, str], str]
"""The code for a value of a kind (`trust.Vault.pseudonym`)."""


def select(
    table: Table,
    version: int,
    rules: Sequence[Rule],
    copies: pa.Table,
    *,
    settings: CurateSettings,
    pseudonym: Pseudonym | None = None,
    released: Collection[str] = (),
    more: Mapping[str, pa.Array] | None = None,
) -> Selected:
    """Judge every document of ``version`` of the documents table.

    ``copies`` is what `copies.find_copies` gives, in the table's order, as are the signals in
    ``more``, which depend on more than the document. With ``pseudonym``, equal
    values are masked by equal placeholders; only for that are texts read, of documents with
    something to mask.
    """
    signals = _signals(table, version, rules, more or {})
    removed = policy.judge(signals, rules, released)
    removed |= policy.judge_copies(copies, rules, removed)
    cut = _cut(table, version, signals["id"], removed, settings)
    removed |= dict.fromkeys(cut.emptied, _EMPTIED)
    ids = signals["id"].to_pylist()
    verdicts = [removed.get(document, _KEPT) for document in ids]
    kept = np.array([verdict.kept for verdict in verdicts], np.bool_)
    fits = allowed(table, version, settings.all_purposes)
    masks = _masks(table, version, removed, settings.mask, pseudonym)
    for document, spans_cut in cut.spans.items():
        masks.setdefault(document, []).extend(Span(*span, "")._asdict() for span in spans_cut)
    columns = {
        "id": signals["id"],
        "kept": pa.array(kept),
        "rule": pa.array([verdict.rule for verdict in verdicts], pa.string()),
        "value": pa.array([verdict.value for verdict in verdicts], pa.string()),
        "digest": signals["digest"],
        "purposes": listed(fits, kept),
        **{name: copies[name] for name, _ in DUPLICATES},
        "mask": pa.array([masks.get(each, ()) for each in ids], SELECTION.field("mask").type),
    }
    rows = pa.table(columns, schema=SELECTION)
    by_address = pc.sort_indices(signals["uri"])
    counts = _counts(signals, rows)
    counts["cut"] = {"documents": len(cut.spans), "chars": cut.chars}
    counts["purposes"] = {
        name: {"documents": int(np.sum(fits[name] & kept)), "columns": purpose.columns}
        for name, purpose in settings.all_purposes.items()
    }
    return Selected(rows.take(by_address), counts, removed)


_KEPT: Final = Verdict(kept=True)
_EMPTIED: Final = Verdict(False, "only_repeated", "0")


def _cut(
    table: Table,
    version: int,
    ids: pa.ChunkedArray,
    removed: Mapping[str, Verdict],
    settings: CurateSettings,
) -> Cuts:
    """What is cut of the documents that are kept so far."""
    if settings.cut_repeated == "nothing":
        return Cuts({}, frozenset())
    gone = pc.is_in(ids, value_set=pa.array(list(removed), ids.type))
    kept = pc.invert(gone).to_numpy()
    return cuts(table, version, kept, settings.cut_repeated, settings.cut_repeated_from)


def _signals(
    table: Table, version: int, rules: Sequence[Rule], more: Mapping[str, pa.Array]
) -> pa.Table:
    """The columns that judging and counting need, those of published measures beside them."""
    named = [rule.signal for rule in rules if not rule.copy_of]
    measures = [name for name in dict.fromkeys(named) if name in MEASURES]
    own = [name for name in named if name not in MEASURES and name not in more]
    columns = dict.fromkeys(["id", "uri", "digest", *_COUNTED, *own])
    signals = table.read([*columns, *(["measures"] if measures else [])], version=version)
    for name in measures:
        signals = signals.append_column(name, pc.struct_field(signals["measures"], name))
    for name, values in more.items():
        signals = signals.append_column(name, values)
    return signals.drop_columns(["measures"]) if measures else signals


def _masks(
    table: Table,
    version: int,
    removed: Mapping[str, Verdict],
    kinds: Sequence[str],
    pseudonym: Pseudonym | None,
) -> dict[str, list[dict[str, Any]]]:
    """What is masked in the documents that are kept and hold something to mask, by id."""
    if not kinds:
        return {}
    found: dict[str, list[dict[str, Any]]] = {}
    columns = ["id", "findings", *(["text"] if pseudonym else [])]
    for batch in table.batches(columns, version=version, rows=_BATCH_ROWS):
        has_some = pc.greater(pc.fill_null(pc.list_value_length(batch["findings"]), 0), 0)
        for row in batch.filter(has_some).to_pylist():
            if row["id"] not in removed:
                findings = [Finding(**finding) for finding in row["findings"]]
                masked = spans(findings, kinds)
                if pseudonym:
                    masked = [_named(span, row["text"], pseudonym) for span in masked]
                found |= {row["id"]: [span._asdict() for span in masked]} if masked else {}
    return found


def _named(span: Span, text: str, pseudonym: Pseudonym) -> Span:
    """``span`` with the code of its value: however it is written, in capitals or with spaces."""
    kind = span.label.strip("[]")
    value = _SEPARATORS.sub("", text[span.start : span.end]).lower()
    return span._replace(label=f"[{kind} {pseudonym(kind, value)}]")


def _counts(signals: pa.Table, rows: pa.Table) -> dict[str, Any]:
    kept = signals.filter(rows["kept"])
    rules = Counter(rows["rule"].filter(pc.invert(rows["kept"])).to_pylist())
    labels = pc.struct_field(pc.list_flatten(rows["mask"]), "label").to_pylist()
    masked = Counter(_CODE.sub("", label.strip("[]")).lower() for label in labels if label)
    return {
        "documents": rows.num_rows,
        "kept": kept.num_rows,
        "removed": dict(rules.most_common()),
        "masked": dict(masked.most_common()),
        "languages": dict(Counter(kept["language"].to_pylist()).most_common()),
        "chars": int(np.sum(kept["num_chars"].to_numpy(), dtype=np.int64)),
        "suspicious": int(np.sum(kept["num_injections"].to_numpy() > 0)),
    }
