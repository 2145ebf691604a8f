"""Which dataset version a name means, and which of its purposes."""

from __future__ import annotations

from undercroft.errors import BadInput, NotFound
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


def known_purpose(artifact: Artifact, purpose: str) -> str:
    """``purpose``, which is empty or one that ``artifact`` was made for; raises `NotFound`."""
    purposes = artifact.meta.get("purposes", {})
    if purpose and purpose not in purposes:
        raise NotFound(
            f"{artifact} has no purpose {purpose!r}.", purpose, list(purposes),
            "Declare it as [curate.purposes.NAME], and make the dataset again with: undercroft up",
        )  # fmt: skip
    return purpose
