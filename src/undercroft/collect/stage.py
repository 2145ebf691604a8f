"""The stage ``collect``: sources -> one version of the table ``raw``.

What did not change since the last run is neither read nor written again, what vanished from its
source is dropped from the new version, and what cannot be read is a row that says why.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from undercroft.collect.documents import Collected, Gathering, Known, Unchanged, document_id
from undercroft.collect.sources import source_of
from undercroft.errors import BadSource
from undercroft.project import Project
from undercroft.settings import CollectSettings
from undercroft.stage import Made, StageRun, stage

TABLE: Final = "raw"
_BATCH_BYTES: Final = 64_000_000
_BATCH_ROWS: Final = 5_000
_DELETE_ROWS: Final = 1_000
MOST_ERASURES: Final = 100_000
_SUMMARY: Final = ("id", "source", "uri", "group", "etag", "last_modified", "status", "mime")
_CONTENT: Final = ("title", "licence", "consent", "subject", "sha256", "reason", "size_bytes")


def fingerprint(project: Project, params: CollectSettings) -> str:
    """What the sources look like from outside, so that an unchanged world is not read again."""
    prints = [source_of(each, project.root, params).fingerprint() for each in params.sources]
    erased = sorted(forgotten(project))
    return hashlib.sha256("\n".join([*params.sources, *prints, *erased]).encode()).hexdigest()


def forgotten(project: Project) -> set[str]:
    """The ids of documents that were erased and may never come in again."""
    erasures = project.ledger.decisions(kind="forget", limit=MOST_ERASURES)
    return {decision.subject.removeprefix("document:") for decision in erasures}


@stage("collect", version=1, params=CollectSettings, fingerprint=fingerprint)
def collect(run: StageRun, params: CollectSettings) -> Made:
    """Read every source into the table ``raw``. Raises `BadSource` when no document comes of it."""
    writer = _Writer(run, params)
    for spec in params.sources:
        gathering = writer.gathering(spec)
        source = source_of(spec, run.project.root, params)
        for item in source.collect(gathering):
            writer.take(spec, item)
        writer.flush()
    version = writer.finish()
    return _made(run, params, version)


@dataclass
class _Writer:
    """Compares what comes with what the table holds and writes the difference."""

    run: StageRun
    params: CollectSettings
    seen: set[str] = field(default_factory=set[str])
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    pending_bytes: int = 0

    def __post_init__(self) -> None:
        self.forgotten = forgotten(self.run.project)
        self.table = self.run.project.lake.table(TABLE)
        self.before: dict[str, dict[str, Any]] = {}
        if self.table.exists():
            held = self.table.read(columns=[*_SUMMARY, *_CONTENT]).to_pylist()
            self.before = {row["id"]: row for row in held}

    def gathering(self, spec: str) -> Gathering:
        vault = self.run.project.trust.vault
        known = {
            row["uri"]: Known(
                row["uri"],
                row["group"],
                row["etag"],
                row["last_modified"],
                row["status"] == "ok",
                row["mime"],
            )
            for row in self.before.values()
            if row["source"] == spec and self._is_as_asked(row)
        }
        aad = b"collect:scratch"
        return Gathering(
            self.run.project.root,
            self.params,
            self.run.workdir,
            known,
            self._payload_of,
            lambda data: vault.seal("", data, aad),
            lambda data: vault.open("", data, aad),
            lambda done, total, note: self.run.progress(done, total, "documents", note),
        )

    def _is_as_asked(self, row: dict[str, Any]) -> bool:
        """A row written under other settings is read again."""
        return bool(row["consent"] == self.params.consent)

    def _payload_of(self, uri: str) -> bytes:
        return read_payload(self.run.project, document_id(uri))

    def take(self, spec: str, item: Collected | Unchanged) -> None:
        if isinstance(item, Unchanged):
            self.seen.update(map(document_id, item.uris))
            return
        if item.id in self.forgotten:
            return
        if item.id in self.seen:
            return  # two sources lead to one document: the first has it
        self.seen.add(item.id)
        row = self._row(spec, item)
        old = self.before.get(item.id)
        if old is not None and all(old[name] == row[name] for name in (*_SUMMARY, *_CONTENT)):
            return
        aad = b"raw:" + item.id.encode()
        vault = self.run.project.trust.vault
        row["payload"] = vault.seal(item.subject, item.payload, aad) if not item.reason else None
        self.rows.append(row)
        self.pending_bytes += len(item.payload)
        if self.pending_bytes > _BATCH_BYTES or len(self.rows) >= _BATCH_ROWS:
            self.flush()

    def _row(self, spec: str, item: Collected) -> dict[str, Any]:
        return {
            "id": item.id,
            "source": spec,
            "uri": item.uri,
            "fetched_at": datetime.now(UTC),
            "licence": item.licence or self.params.licence,
            "consent": self.params.consent,
            "subject": item.subject,
            "mime": item.mime,
            "title": item.title,
            "group": item.group or item.uri,
            "sha256": hashlib.sha256(item.payload).hexdigest() if not item.reason else "",
            "size_bytes": item.size_bytes or len(item.payload),
            "status": "rejected" if item.reason else "ok",
            "reason": item.reason,
            "etag": item.etag,
            "last_modified": item.last_modified,
        }

    def flush(self) -> None:
        import pyarrow as pa

        from undercroft.lake.schemas import RAW

        if self.rows:
            self.table.upsert(pa.Table.from_pylist(self.rows, schema=RAW))
        self.rows, self.pending_bytes = [], 0

    def finish(self) -> int:
        """Drop what the sources no longer have; the version that holds the rest."""
        from undercroft.lake import any_of

        gone = sorted(set(self.before) - self.seen)
        for start in range(0, len(gone), _DELETE_ROWS):
            self.table.delete(any_of("id", gone[start : start + _DELETE_ROWS]))
        return self.table.version if self.table.exists() else 0


def _made(run: StageRun, params: CollectSettings, version: int) -> Made:
    """The artifact with its counts; its digest is of the content, whatever the version."""
    rows: list[dict[str, Any]] = []
    if version:
        columns = ["id", "sha256", "status", "reason", "size_bytes", "source"]
        rows = run.project.lake.table(TABLE).read(columns=columns, version=version).to_pylist()
    good = [row for row in rows if row["status"] == "ok"]
    refused = Counter(row["reason"].partition(":")[0] for row in rows if row["status"] != "ok")
    if not good:
        raise _nothing_collected(rows, params)
    lines = sorted(f"{row['id']} {row['sha256']} {row['reason']}" for row in rows)
    size = sum(row["size_bytes"] for row in good)
    meta = {
        "collected": len(good),
        "rejected": dict(refused.most_common()),
        "bytes": size,
        "size_bytes": size,
        "sources": dict(Counter(row["source"] for row in good)),
    }
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return Made("raw", run.project.name, table=(TABLE, version), meta=meta, digest=digest)


def _nothing_collected(rows: list[dict[str, Any]], params: CollectSettings) -> BadSource:
    reasons = sorted({row["reason"] for row in rows if row["reason"]})
    return BadSource(
        f"No document could be read from {', '.join(params.sources)}.",
        "; ".join(reasons[:3]) + "." if reasons else "There is nothing there.",
        "Give files, a folder, a URL or python-docs as `sources` under [collect].",
    )


def read_payload(project: Project, document: str, version: int | None = None) -> bytes:
    """The payload of one raw document, opened; empty when there is none."""
    from undercroft.lake import equals

    table = project.lake.table(TABLE)
    found = table.read(["subject", "payload"], where=equals("id", document), version=version)
    rows: list[dict[str, Any]] = found.to_pylist()
    if not rows or rows[0]["payload"] is None:
        return b""
    aad = b"raw:" + document.encode()
    return project.trust.vault.open(rows[0]["subject"], rows[0]["payload"], aad)


def rejections(project: Project, version: int | None = None) -> Iterator[tuple[str, str]]:
    """Address and reason of everything that could not be taken, by address."""
    from undercroft.lake import equals

    table = project.lake.table(TABLE)
    rows = table.read(["uri", "reason"], where=equals("status", "rejected"), version=version)
    for row in sorted(rows.to_pylist(), key=lambda each: str(each["uri"])):
        yield row["uri"], row["reason"]
