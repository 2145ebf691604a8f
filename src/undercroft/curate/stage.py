"""The stage ``curate``: raw documents -> texts -> signals -> policy -> a dataset version.

The table ``documents`` gets every document with its signals, kept or not; the dataset is the
selection that the policy makes of one version of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from undercroft.curate import duplicates, policy
from undercroft.curate.extract import text_of
from undercroft.detect import find, language, spans
from undercroft.errors import BadSource, StageFailed
from undercroft.project import Project
from undercroft.records import Artifact, Finding
from undercroft.settings import CurateSettings
from undercroft.stage import Made, StageRun, stage

if TYPE_CHECKING:
    import pyarrow as pa

TABLE: Final = "documents"
_TAKEN_OVER: Final = ("id", "source", "uri", "title", "group", "mime", "licence", "subject")
_DETECTORS: Final = ("pii", "secret", "injection")
_BATCH_ROWS: Final = 256


@stage("curate", version=1, params=CurateSettings, code=("undercroft.detect",))
def curate(run: StageRun, params: CurateSettings, *, raw: Artifact) -> Made:
    """Make a dataset of the documents of ``raw``. Raises `BadSource` when none is left."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from undercroft.lake.dataset import SELECTION_FILE
    from undercroft.lake.schemas import SELECTION

    rows = _extracted(run, raw)
    signals = _signals(run, rows, params)
    rules = policy.rules_of(params)
    verdicts = policy.judge(signals, rules)
    if not any(verdict.kept for verdict in verdicts.values()):
        raise _nothing_left(verdicts)
    documents = _documents(signals)
    selection = [
        _selected(row, digest, verdicts[row["id"]], params.mask)
        for row, digest in zip(signals, documents["digest"].to_pylist(), strict=True)
    ]
    table = run.project.lake.table(TABLE)
    version = table.replace(documents)
    folder = run.workdir / "dataset"
    folder.mkdir(exist_ok=True)
    pq.write_table(
        pa.Table.from_pylist(selection, SELECTION),
        folder / SELECTION_FILE,
        compression="zstd",
        use_dictionary=["rule", "value"],  # ids and digests are all different
    )
    meta = {
        "table": TABLE,
        "version": version,
        "files": table.file_digests(version, _known_files(run.project)),
        "policy": policy.digest_of(rules, params.mask),
        "rules": [asdict(rule) for rule in rules],
        **_counts(signals, verdicts, selection),
    }
    return Made("dataset", run.project.name, path=folder, meta=meta)


def _known_files(project: Project) -> Mapping[str, str]:
    """Files of the documents table whose digests the dataset made last already has."""
    made = project.ledger.artifacts("dataset", project.name, limit=1)
    return made[0].meta.get("files", {}) if made else {}


def _extracted(run: StageRun, raw: Artifact) -> list[dict[str, Any]]:
    """The raw documents as texts, by address; what cannot be opened any more was erased."""
    from undercroft.lake import equals

    table, version = run.project.table(raw)
    vault = run.project.trust.vault
    columns = [*_TAKEN_OVER, "payload"]
    dataset = table.dataset(version)
    total = table.count(equals("status", "ok"), version)
    rows: list[dict[str, Any]] = []
    scanner = dataset.scanner(columns, filter=equals("status", "ok"), batch_size=_BATCH_ROWS)
    for batch in scanner.to_batches():
        for row in batch.to_pylist():
            aad = b"raw:" + row["id"].encode()
            payload = vault.open(row["subject"] or "", row.pop("payload"), aad)
            rows.append({**row, "text": text_of(payload, row["mime"])})
            run.progress(len(rows), total, "documents", "extract")
    return sorted(rows, key=lambda row: str(row["uri"]))


@dataclass(frozen=True)
class _Planted:
    """Two near duplicates put among the documents of every run: if duplicate removal does not
    find them it has silently stopped working, and the run must fail."""

    names: tuple[str, str] = ("planted:copy", "planted:original")

    @property
    def texts(self) -> tuple[str, str]:
        words = [
            f"planted{chr(97 + i % 26)}{chr(97 + i * 7 % 26)}{chr(97 + i // 26)}"
            for i in range(260)
        ]
        text = " ".join(words)
        return text.upper(), text + ", and one word more"

    def check(self, found: Mapping[int, duplicates.Near], first: int) -> None:
        near = found.get(first)
        if near is None or near.original != first + 1:
            raise StageFailed(
                "The planted near duplicate was not found.",
                "Duplicate removal does not work here, so its result cannot be trusted.",
                "Please report this with the output of: undercroft doctor",
            )


def _signals(
    run: StageRun, rows: Sequence[Mapping[str, Any]], params: CurateSettings
) -> list[dict[str, Any]]:
    """``rows`` with every signal."""
    total = len(rows)
    run.progress(0, total, "documents", "measure")
    measured, near = _measured(rows, params)
    published = _published(rows, params)
    digests, originals = duplicates.exact([r["text"] for r in rows], [r["uri"] for r in rows])
    found = []
    for index, row in enumerate(rows):
        run.progress(index + 1, total, "documents", "languages and findings")
        code, confidence = language(row["text"])
        findings = find(row["text"], _DETECTORS)
        original, alike = originals[index], near.get(index)
        families = Counter(finding.kind.partition(".")[0] for finding in findings)
        found.append(
            {
                **row,
                **{name: column[index].item() for name, column in measured.items()},
                **published[index],
                "sha256": digests[index],
                "language": code,
                "language_score": confidence,
                "exact_duplicate_of": None if original is None else rows[original]["id"],
                "near_duplicate_of": rows[alike.original]["id"] if alike else None,
                "near_duplicate_jaccard": alike.jaccard if alike else None,
                "near_duplicate_containment": alike.containment if alike else None,
                "num_pii": families["pii"],
                "num_secrets": families["secret"],
                "num_injections": families["injection"],
                "findings": [asdict(finding) for finding in findings],
            }
        )
    return found


def _published(
    rows: Sequence[Mapping[str, Any]], params: CurateSettings
) -> Sequence[Mapping[str, Any]]:
    """For each row the measures of the published heuristics, flat and as one; none unless asked."""
    if not params.heuristics:
        return [{} for _ in rows]
    import pyarrow as pa

    from undercroft.curate.heuristics import measures_of
    from undercroft.lake.schemas import MEASURES

    found = measures_of(pa.array([row["text"] for row in rows], pa.large_string())).tolist()
    named = [dict(zip(MEASURES, row, strict=True)) for row in found]
    return [{**measures, "measures": measures} for measures in named]


def _measured(
    rows: Sequence[Mapping[str, Any]], params: CurateSettings
) -> tuple[dict[str, Any], dict[int, duplicates.Near]]:
    """The measured columns, and the near duplicates by index."""
    import pyarrow as pa

    from undercroft.curate.signals import measure

    planted = _Planted()
    names = [*(row["uri"] for row in rows), *planted.names]
    texts = [*(row["text"] for row in rows), *planted.texts]
    measured = measure(pa.array(texts, pa.large_string()))
    _, copies = duplicates.exact(texts, names)
    near = duplicates.near(
        measured.words,
        measured.starts,
        names=names,
        lengths=measured.columns["num_chars"].tolist(),
        threshold=params.near_duplicate_jaccard,
        left_out=[copy is not None for copy in copies],
    )
    planted.check(near, len(rows))
    columns = {name: column[: len(rows)] for name, column in measured.columns.items()}
    return columns, {index: each for index, each in near.items() if index < len(rows)}


def _documents(signals: Sequence[Mapping[str, Any]]) -> pa.Table:
    import pyarrow as pa

    from undercroft.lake import with_digests
    from undercroft.lake.schemas import DOCUMENTS

    return with_digests(pa.Table.from_pylist(list(signals), schema=DOCUMENTS))


def _selected(
    row: Mapping[str, Any], digest: bytes, verdict: policy.Verdict, mask: Sequence[str]
) -> dict[str, Any]:
    findings = [Finding(**finding) for finding in row["findings"]]
    masked = spans(findings, mask) if verdict.kept else []
    return {
        "id": row["id"],
        "kept": verdict.kept,
        "rule": verdict.rule,
        "value": verdict.value,
        "digest": digest,
        "mask": [span._asdict() for span in masked],
    }


def _counts(
    signals: Sequence[Mapping[str, Any]],
    verdicts: Mapping[str, policy.Verdict],
    selection: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    kept = [row for row in signals if verdicts[row["id"]].kept]
    removed = Counter(verdict.rule for verdict in verdicts.values() if not verdict.kept)
    masked = Counter(span["label"].strip("[]").lower() for row in selection for span in row["mask"])
    return {
        "documents": len(signals),
        "kept": len(kept),
        "removed": dict(removed.most_common()),
        "masked": dict(masked.most_common()),
        "languages": dict(Counter(row["language"] for row in kept).most_common()),
        "chars": sum(row["num_chars"] for row in kept),
        "suspicious": sum(row["num_injections"] > 0 for row in kept),
    }


def _nothing_left(verdicts: Mapping[str, policy.Verdict]) -> BadSource:
    reasons = Counter(verdict.rule for verdict in verdicts.values()).most_common()
    return BadSource(
        "The policy removed every document.",
        "Removed: " + ", ".join(f"{count} {rule}" for rule, count in reasons) + ".",
        "Loosen the thresholds under [curate], or give other sources.",
    )
