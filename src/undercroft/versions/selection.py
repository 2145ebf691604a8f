"""The selection of a dataset version, and facts about its documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from undercroft.errors import BadInput
from undercroft.project import Project
from undercroft.records import Artifact, Ref

if TYPE_CHECKING:
    import pyarrow as pa


def dataset_of(project: Project, name: str = "") -> Artifact:
    """The dataset that ``name`` means: a ref, with or without ``dataset:``; "" is the project's.

    Raises `NotFound` with the nearest names, and `BadInput` for another kind of artifact.
    """
    ref = name or project.name
    artifact = project.ledger.artifact(Ref.parse(ref if ":" in ref else f"dataset:{ref}"))
    if artifact.kind != "dataset":
        raise BadInput(f"{artifact} is not a dataset.", do="See them with: undercroft data ls")
    return artifact


def selection(project: Project, artifact: Artifact) -> pa.Table:
    """One row per document of ``artifact``, kept or not (`lake.schemas.SELECTION`)."""
    import pyarrow.parquet as pq

    from undercroft.lake.dataset import SELECTION_FILE

    return pq.read_table(project.path(artifact) / SELECTION_FILE)


def facts_of(
    project: Project, artifact: Artifact, ids: Iterable[str], columns: Sequence[str]
) -> Mapping[str, Mapping[str, Any]]:
    """``columns`` of the documents ``ids`` as the version saw them, by id; erased ones are not
    there."""
    from undercroft.lake import any_of

    table = project.lake.table(str(artifact.meta["table"]))
    wanted = ["id", *columns]
    rows = table.read(wanted, any_of("id", list(ids)), int(artifact.meta["version"]))
    return {row["id"]: row for row in rows.to_pylist()}
