"""The versions of a dataset, and which of them the main job uses.

Restoring copies nothing: it is a decision in the ledger that the main job follows, so an older
version is in use again at once, and so is the newest.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from undercroft.errors import NotFound
from undercroft.project import Project
from undercroft.records import Artifact, Ref

RESTORE: Final = "restore"
NEWEST: Final = "newest"


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a dataset; ``restored`` when it is in use by decision, not by age."""

    ref: str
    created_at: datetime
    documents: int
    kept: int
    chars: int
    policy: str
    run: str
    raw: str
    tags: tuple[str, ...]
    in_use: bool
    restored: bool


def log(project: Project, name: str, limit: int = 50, offset: int = 0) -> list[Version]:
    """A page of the versions of ``dataset:name``, newest first.

    Raises `NotFound` when there is none.
    """
    newest = project.ledger.artifact(Ref("dataset", name))
    used = in_use(project, newest)
    tags = project.ledger.aliases("dataset", name)
    return [
        Version(
            ref=str(artifact.ref),
            created_at=artifact.created_at,
            documents=int(artifact.meta["documents"]),
            kept=int(artifact.meta["kept"]),
            chars=int(artifact.meta["chars"]),
            policy=str(artifact.meta["policy"])[:12],
            run=artifact.run_id,
            raw=_raw_of(project, artifact),
            tags=tuple(sorted(tag for tag, at in tags.items() if at == artifact.ref.version)),
            in_use=artifact.ref == used.ref,
            restored=artifact.ref == used.ref != newest.ref,
        )
        for artifact in project.ledger.artifacts("dataset", name, limit, offset)
    ]


def restore(project: Project, artifact: Artifact, reason: str, actor: str = "local") -> None:
    """Have the main job use this version of its dataset, whatever newer ones there are."""
    subject = f"dataset:{artifact.name}"
    project.ledger.decide(RESTORE, subject, str(artifact.ref), reason, {}, actor)


def follow(project: Project, name: str, reason: str, actor: str = "local") -> None:
    """Have the main job use the newest version of ``dataset:name`` again."""
    project.ledger.decide(RESTORE, f"dataset:{name}", NEWEST, reason, {}, actor)


def in_use(project: Project, newest: Artifact) -> Artifact:
    """The version that the main job uses where curation gives ``newest``.

    A restored version that is no longer in the ledger is passed over.
    """
    decided = project.ledger.decisions(f"dataset:{newest.name}", RESTORE, limit=1)
    if not decided or decided[0].verdict == NEWEST:
        return newest
    try:
        return project.ledger.artifact(decided[0].verdict)
    except NotFound:
        return newest


def _raw_of(project: Project, artifact: Artifact) -> str:
    inputs = project.ledger.run_of(artifact).inputs
    return next((str(ref) for ref in inputs if ref.kind == "raw"), "")
