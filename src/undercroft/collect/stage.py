"""The stage ``collect``: sources -> one version of the table ``raw``.

What did not change since the last run is neither read nor written again, what vanished from its
source is dropped from the new version, and what cannot be read is a row that says why.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from undercroft.collect import live, told
from undercroft.collect.documents import Earlier, Gathering, Unchanged, document_id
from undercroft.collect.files import FileSource
from undercroft.collect.held import Held, OfSource
from undercroft.collect.live import Live
from undercroft.collect.sources import source_of
from undercroft.collect.writer import Writer
from undercroft.errors import BadSource
from undercroft.project import Project
from undercroft.settings import CollectSettings
from undercroft.stage import Made, StageRun, stage

TABLE: Final = "raw"
MOST_ERASURES: Final = 100_000
RETRY_S: Final = 600.0
_DIGESTED_ROWS: Final = 8_192


def fingerprint(project: Project, params: CollectSettings) -> str:
    """What the sources look like from outside, so that an unchanged world is not read again."""
    known = told.prints(project.state, params)
    prints = [
        known.get(each) or source_of(each, project, params).fingerprint() for each in params.sources
    ]
    erased = sorted(forgotten(project))
    said = [*params.sources, *prints, *erased, *_unfinished(project)]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


@contextmanager
def watching(project: Project) -> Iterator[Live | None]:
    """Stay up to date about folders, for this process and for others that ask `fingerprint`; None
    where the kernel does not tell of changes."""
    params = project.settings.collect

    def answer() -> dict[str, str]:
        sources = {each: source_of(each, project, params) for each in params.sources}
        return {
            name: source.fingerprint()
            for name, source in sources.items()
            if isinstance(source, FileSource)
        }

    told_of = live.start()
    if told_of is None:
        yield None
        return
    try:
        with told.answering(project.state, params, answer):
            yield told_of
    finally:
        live.stop()


def _unfinished(project: Project) -> list[str]:
    """Says something else every `RETRY_S` while something could not be read for the moment, and
    something else than before once it can: the sources look the same from outside."""
    made = project.ledger.artifacts("raw", project.name)
    lacking = [each for each in made if "unreadable" in each.meta.get("rejected", {})]
    if not lacking:
        return []
    is_due = made[0] in lacking
    return [f"{len(lacking)}", f"{time.time() // RETRY_S:.0f}" if is_due else ""]


def forgotten(project: Project) -> set[str]:
    """The ids of documents that were erased and may never come in again."""
    erasures = project.ledger.decisions(kind="forget", limit=MOST_ERASURES)
    return {decision.subject.removeprefix("document:") for decision in erasures}


@stage("collect", version=2, params=CollectSettings, fingerprint=fingerprint)
def collect(run: StageRun, params: CollectSettings) -> Made:
    """Read every source into the table ``raw``. Raises `BadSource` when no document comes of it."""
    project = run.project
    table = project.lake.table(TABLE)
    held = Held.of(table)
    writer = Writer(table, held, project.trust.vault, params, forgotten(project))
    for spec in params.sources:
        earlier = OfSource(held, spec, params.consent)
        source = source_of(spec, project, params)
        for item in source.collect(_gathering(run, params, earlier)):
            if isinstance(item, Unchanged):
                earlier.mark(item)
            else:
                writer.take(spec, item)
        writer.flush()
    return _made(run, params, writer.finish())


def _gathering(run: StageRun, params: CollectSettings, earlier: Earlier) -> Gathering:
    vault, aad = run.project.trust.vault, b"collect:scratch"
    return Gathering(
        run.project.root,
        params,
        run.workdir,
        earlier,
        lambda uri: read_payload(run.project, document_id(uri)),
        lambda data: vault.seal("", data, aad),
        lambda data: vault.open("", data, aad),
        lambda done, total, note: run.progress(done, total, "documents", note),
    )


def _made(run: StageRun, params: CollectSettings, version: int) -> Made:
    """The artifact with its counts; its digest is of the content, whatever the version."""
    import pyarrow.compute as pc

    if not version:
        raise _nothing_collected([], params)
    columns = ["id", "sha256", "status", "reason", "size_bytes", "source"]
    rows = run.project.lake.table(TABLE).read(columns, version=version).sort_by("id")
    digest, refused = hashlib.sha256(), Counter[str]()
    for batch in rows.to_batches(_DIGESTED_ROWS):
        reasons = batch["reason"]
        lines = pc.binary_join_element_wise(batch["id"], batch["sha256"], reasons, " ")
        digest.update("\n".join([*lines.to_pylist(), ""]).encode())
        refused.update(reason.partition(":")[0] for reason in reasons.to_pylist() if reason)
    good = rows.filter(pc.field("status") == "ok")
    if not good.num_rows:
        raise _nothing_collected(rows["reason"].slice(0, 100).to_pylist(), params)
    size = int(pc.sum(good["size_bytes"]).as_py())
    counts = good["source"].value_counts().to_pylist()
    meta = {
        "collected": good.num_rows,
        "rejected": dict(refused.most_common()),
        "bytes": size,
        "size_bytes": size,
        "sources": {each["values"]: each["counts"] for each in counts},
    }
    table = (TABLE, version)
    return Made("raw", run.project.name, table=table, meta=meta, digest=digest.hexdigest())


def _nothing_collected(reasons: list[str], params: CollectSettings) -> BadSource:
    reasons = sorted({reason for reason in reasons if reason})
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
