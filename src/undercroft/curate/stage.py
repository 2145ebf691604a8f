"""The stage ``curate``: raw documents -> texts -> signals -> policy -> a dataset version.

The table ``documents`` gets every document with its signals, kept or not; the dataset is the
selection that the policy makes of one version of it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from undercroft.curate import policy
from undercroft.curate.review import released
from undercroft.errors import BadSource
from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.settings import CurateSettings
from undercroft.stage import Made, StageRun, stage

if TYPE_CHECKING:
    import pyarrow as pa

    from undercroft.curate.policy import Verdict
    from undercroft.lake import Table


def fingerprint(project: Project, params: CurateSettings) -> str:
    """What else a dataset depends on: evaluation suites, people's decisions, the embedding."""
    passed = sorted(released(project)) if params.review else []
    items: list[tuple[str, str]] = []
    if params.decontaminate:
        from undercroft.curate.exams import read_items

        items = read_items(params.decontaminate, project)
    model = [project.settings.index.embedding] if params.semantics else []
    said = [*items, *passed, *model]
    return hashlib.sha256(repr(said).encode()).hexdigest() if said else ""


@stage(
    "curate",
    version=2,
    params=CurateSettings,
    fingerprint=fingerprint,
    code=("undercroft.detect", "undercroft.retrieve.embed"),
)
def curate(run: StageRun, params: CurateSettings, *, raw: Artifact) -> Made:
    """Make a dataset of the documents of ``raw``. Raises `BadSource` when none is left."""
    import pyarrow.parquet as pq

    from undercroft.curate.copies import find_copies
    from undercroft.curate.selection import select
    from undercroft.curate.update import TABLE, update
    from undercroft.lake.dataset import SELECTION_FILE

    updated = update(run, params, raw)
    copies = find_copies(run, updated.version, params.near_duplicate_jaccard)
    columns = copies.columns
    if params.semantics:
        from undercroft.curate.meanings import with_meanings

        columns = with_meanings(run, updated.version, columns)
    rules = policy.rules_of(params)
    table = run.project.lake.table(TABLE)
    pseudonym = run.project.trust.vault.pseudonym if params.pseudonymise else None
    selected = select(
        table,
        updated.version,
        rules,
        columns,
        settings=params,
        pseudonym=pseudonym,
        released=released(run.project),
        more=_exams(run, params, table, updated.version),
    )
    if not selected.counts["kept"]:
        raise _nothing_left(selected.removed)
    folder = run.workdir / "dataset"
    folder.mkdir(exist_ok=True)
    pq.write_table(
        selected.rows,
        folder / SELECTION_FILE,
        compression="zstd",
        use_dictionary=["rule", "value"],  # ids and digests are all different
    )
    meta = {
        "table": TABLE,
        "version": updated.version,
        "files": table.file_digests(updated.version, _known_files(run.project)),
        "policy": policy.digest_of(rules, params.mask),
        "rules": [asdict(rule) for rule in rules],
        "made": updated.made,
        **copies.counts,
        **selected.counts,
    }
    return Made("dataset", run.project.name, path=folder, meta=meta)


def _exams(
    run: StageRun, params: CurateSettings, table: Table, version: int
) -> dict[str, pa.Array]:
    """The signal ``contaminated_by``, where evaluation files are given."""
    import pyarrow as pa

    from undercroft.curate.contamination import Items, contaminated
    from undercroft.curate.exams import read_items

    if not params.decontaminate:
        return {}
    read = read_items(params.decontaminate, run.project)
    if not read:
        return {"contaminated_by": pa.array([""] * table.count(version=version))}
    items = Items.of(read)
    run.event("decontamination", items=len(items.names) - 1, too_short=items.num_short)
    return {"contaminated_by": pa.array(contaminated(table, version, items), pa.string())}


def _known_files(project: Project) -> Mapping[str, str]:
    """Files of the documents table whose digests the dataset made last already has."""
    made = project.ledger.artifacts("dataset", project.name, limit=1)
    return made[0].meta.get("files", {}) if made else {}


def _nothing_left(removed: Mapping[str, Verdict]) -> BadSource:
    reasons = Counter(verdict.rule for verdict in removed.values()).most_common()
    return BadSource(
        "The policy removed every document.",
        "Removed: " + ", ".join(f"{count} {rule}" for rule, count in reasons) + ".",
        "Loosen the thresholds under [curate], or give other sources.",
    )
