"""Which dataset version a name means."""

from __future__ import annotations

from undercroft.errors import BadInput
from undercroft.project import Project
from undercroft.records import Artifact, Ref


def dataset_of(project: Project, name: str = "") -> Artifact:
    """The dataset that ``name`` means: a ref, with or without ``dataset:``; "" is the project's.

    Raises `NotFound` with the nearest names, and `BadInput` for another kind of artifact.
    """
    ref = name or project.name
    artifact = project.ledger.artifact(Ref.parse(ref if ":" in ref else f"dataset:{ref}"))
    if artifact.kind != "dataset":
        raise BadInput(f"{artifact} is not a dataset.", do="See them with: undercroft data ls")
    return artifact
