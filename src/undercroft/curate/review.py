"""Documents that a rule put aside until somebody decides: released into the dataset, or rejected.

Which rules do so is said by ``review`` under ``[curate]``. Decisions are about documents, whatever
their version, and are kept in the ledger; the next dataset follows them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from undercroft.curate.removed import Removed, removed
from undercroft.errors import NotFound

if TYPE_CHECKING:
    from undercroft.project import Project
    from undercroft.records import Artifact

KIND: Final = "review"
_MOST: Final = 1_000_000
Verdict = Literal["released", "rejected"]


def decided(project: Project) -> dict[str, str]:
    """The last verdict on every document that has one, by id."""
    found: dict[str, str] = {}
    for each in project.ledger.decisions(kind=KIND, limit=_MOST):  # newest first
        found.setdefault(each.subject.removeprefix("document:"), each.verdict)
    return found


def released(project: Project) -> frozenset[str]:
    """The ids of the documents that rules for review let pass."""
    return frozenset(name for name, verdict in decided(project).items() if verdict == "released")


def waiting(project: Project, dataset: Artifact) -> list[Removed]:
    """What ``dataset`` put aside and nobody has decided on, rule by rule and by address."""
    known = decided(project)
    rules = [rule["name"] for rule in dataset.meta["rules"] if rule.get("review")]
    counts = dataset.meta["removed"]
    return [
        each
        for rule in dict.fromkeys(rules)
        if counts.get(rule)
        for each in removed(project, dataset, counts[rule], rule=rule)
        if each.id not in known
    ]


def decide(
    project: Project, dataset: Artifact, document: str, verdict: Verdict, reason: str
) -> Removed | None:
    """Record a verdict on a document that waits, or change an earlier one.

    Raises `NotFound` when ``document`` neither waits nor was decided on.
    """
    found = {each.id: each for each in waiting(project, dataset)}
    if document not in found and document not in decided(project):
        raise NotFound(
            f"The document {document} does not wait for a decision.", document, list(found),
            "See those that do with: undercroft data review",
        )  # fmt: skip
    project.ledger.decide(KIND, f"document:{document}", verdict, reason, {}, "local")
    return found.get(document)
