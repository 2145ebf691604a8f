"""What the ledger hears of a trial: one decision for each turn it takes, and who is live."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from undercroft.trials import trial as trials
from undercroft.trials.trial import Trial

GATEWAY: Final = "gateway"
KIND: Final = "rollout"
ROLLBACK: Final = "rollback"
LIVE: Final = "live"


class Book(Protocol):
    """What is needed of the ledger."""

    def set_alias(self, ref: Any, alias: str, actor: str) -> None: ...

    def decide(  # noqa: PLR0917 - the fields of a decision
        self,
        kind: str,
        subject: str,
        verdict: str,
        reason: str,
        evidence: Mapping[str, Any],
        actor: str,
    ) -> Any: ...


def tell(ledger: Book, folder: Path) -> None:
    """Write the trial's present turn down, if nobody has: turns that were over before the ledger
    could be reached are not."""
    with trials.locked(folder, "told"):
        found = trials.read(folder)
        if found is not None and found.told < found.version:
            _tell(ledger, folder, found)


def _tell(ledger: Book, folder: Path, found: Trial) -> None:
    actor = found.by or found.started_by
    if found.status == "promoted":
        ledger.set_alias(found.canary, LIVE, actor)
    kind = ROLLBACK if found.status == "rolled back" else KIND
    verdict = "started" if found.version == 1 else _verdict(found)
    ledger.decide(kind, found.canary, verdict, found.reason, _evidence(found, folder), actor)
    trials.told(folder, found.version)


def _verdict(trial: Trial) -> str:
    return f"{trial.share:.0%} of traffic" if trial.status == "running" else trial.status


def _evidence(trial: Trial, folder: Path) -> dict[str, Any]:
    counted = trials.read_tally(folder) or {}
    curve = counted.get("curve") or [{}]
    return {
        "trial": trial.id,
        "kind": trial.kind,
        "to": trial.control,
        "step": trial.step,
        "share": trial.share,
        "settings": trial.settings,
        "units": counted.get("tally", {}).get("units", {}),
        "standings": curve[-1].get("standings", []),
    }
