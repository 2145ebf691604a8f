"""What ``undercroft show`` says of an artifact, a document or an answer, as plain data."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from undercroft.curate import removed
from undercroft.govern.thread import answers_using, document_row, raws_with
from undercroft.lake import equals
from undercroft.monitor import answer
from undercroft.project import Project
from undercroft.records import Artifact

TEXT_SHOWN = 2000


def describe(
    project: Project, name: str, *, rule: str | None = None, limit: int = 20, offset: int = 0
) -> dict[str, Any]:
    """Everything worth knowing about ``name``.

    Of a dataset: what was removed, by which rule, and the value that decided. Of a raw artifact:
    what was rejected and why. Raises `NotFound` with the nearest names.
    """
    kind, _, identity = name.partition(":")
    if kind == "document":
        return _document(project, identity)
    if kind == "answer":
        return asdict(answer(project, identity))
    artifact = project.ledger.artifact(name)
    run = project.ledger.run_of(artifact)
    facts: dict[str, Any] = {
        "ref": str(artifact.ref),
        "aliases": [
            alias
            for alias, version in project.ledger.aliases(artifact.kind, artifact.name).items()
            if version == artifact.ref.version
        ],
        "created_at": artifact.created_at,
        "digest": artifact.digest,
        "size_bytes": artifact.size_bytes,
        "uri": artifact.uri,
        "made_by": {"run": run.id, "stage": run.stage, "from": [str(ref) for ref in run.inputs]},
        "meta": {name: value for name, value in artifact.meta.items() if name != "files"},
    }
    if kind == "dataset":
        rows = removed(project, artifact, limit=limit, offset=offset, rule=rule)
        facts["removed"] = [asdict(row) for row in rows]
    if kind == "raw":
        facts["rejected"] = _rejected(project, artifact, limit, offset)
    return facts


def _rejected(project: Project, raw: Artifact, limit: int, offset: int) -> list[dict[str, Any]]:
    table, version = project.table(raw)
    rows: list[dict[str, Any]] = table.read(
        ["id", "uri", "reason"],
        where=equals("status", "rejected"),
        version=version,
        limit=limit,
        offset=offset,
    ).to_pylist()
    return rows


def _document(project: Project, document: str) -> dict[str, Any]:
    row = document_row(project, document)
    table = project.lake.table("documents")
    texts = table.read(["text"], where=equals("id", document)).column("text").to_pylist()
    text = str(texts[0]) if texts else ""
    return {
        **{key: value for key, value in row.items() if key != "findings"},
        "findings": [finding["kind"] for finding in row.get("findings") or ()],
        "collected_in": [str(artifact.ref) for artifact in raws_with(project, document)],
        "answers": [used["id"] for used in answers_using(project, document)],
        "text": text[:TEXT_SHOWN] + ("…" if len(text) > TEXT_SHOWN else ""),
    }
