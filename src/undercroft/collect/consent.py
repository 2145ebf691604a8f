"""Whose words may be learnt from: what people said of it, and took back.

A request is the person's to give when they send it with ``store: true``. What they decide about
themselves later outweighs that, for everything they ever said. The ledger holds them under a keyed
hash.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from undercroft.project import Project

KIND: Final = "consent"
MOST: Final = 1_000_000
Verdict = Literal["withdrawn", "given"]


@dataclass(frozen=True, slots=True)
class Consent:
    """The last that somebody decided about themselves; ``subject`` is their keyed hash."""

    subject: str
    verdict: str
    reason: str
    at: datetime


def decide(project: Project, subject: str, verdict: Verdict, reason: str) -> Consent:
    """Record what ``subject``, the ``user`` of their requests, decided."""
    name = project.trust.vault.hashed(subject)
    project.ledger.decide(KIND, f"subject:{name}", verdict, reason, {}, "local")
    return consents(project)[name]


def consents(project: Project) -> dict[str, Consent]:
    """The last decision of everybody who made one, by their keyed hash."""
    found: dict[str, Consent] = {}
    for each in project.ledger.decisions(kind=KIND, limit=MOST):  # newest first
        name = each.subject.removeprefix("subject:")
        found.setdefault(name, Consent(name, each.verdict, each.reason, each.at))
    return found


def withdrawn(project: Project) -> frozenset[str]:
    """Those, by their keyed hash, who took their consent back."""
    last = consents(project).values()
    return frozenset(each.subject for each in last if each.verdict == "withdrawn")
