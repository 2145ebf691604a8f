"""What the ledger hears of a trial, and what others hear from it.

Each turn that a trial takes is one decision in the ledger, with who is live and the trial as it is
from then on, all in one transaction. Of two gateways that took different turns at once, the one
that the ledger hears first stands, and the other follows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from undercroft.records import Ref
from undercroft.trials import trial as trials
from undercroft.trials.trial import Trial

GATEWAY: Final = "gateway"
KIND: Final = "rollout"
ROLLBACK: Final = "rollback"
LIVE: Final = "live"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Trial).decode


class Book(Protocol):
    """What is needed of the ledger."""

    def trial(self, project: str) -> bytes | None: ...

    def take_turn(
        self,
        project: str,
        trial: str,
        state: bytes,
        gives_way: Callable[[bytes], bool],
        *,
        alias: tuple[str, str] | None,
        decision: Mapping[str, Any],
    ) -> bytes: ...


def tell(ledger: Book, folder: Path) -> None:
    """Write the trial's present turn down, if nobody has: turns that were over before the ledger
    could be reached are not. Where another's turn stands, it is taken over from there."""
    with trials.locked(folder, "told"):
        found = trials.read(folder)
        if found is None or found.told >= found.version:
            return
        state = _encode(msgspec.structs.replace(found, told=found.version))
        stands = ledger.take_turn(
            Ref.parse(found.canary).name,
            found.id,
            state,
            lambda there: _decode(there).gives_way_to(found),
            alias=(found.canary, LIVE) if found.status == "promoted" else None,
            decision=_decision(found, folder),
        )
        if stands == state:
            trials.told(folder, found.version)
        else:
            trials.adopt(folder, _decode(stands))


def hear(ledger: Book, project: str, folder: Path) -> None:
    """Follow the turn that the ledger knows, unless one of our own is still to be told."""
    with trials.locked(folder, "told"):
        told, found = ledger.trial(project), trials.read(folder)
        if told is None or (found is not None and found.told < found.version):
            return
        other = _decode(told)
        if found is None or (found.id, found.version) != (other.id, other.version):
            trials.adopt(folder, other)


def _decision(found: Trial, folder: Path) -> dict[str, Any]:
    return {
        "kind": ROLLBACK if found.status == "rolled back" else KIND,
        "subject": found.canary,
        "verdict": "started" if found.version == 1 else _verdict(found),
        "reason": found.reason,
        "evidence": _evidence(found, folder),
        "actor": found.by or found.started_by,
    }


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
