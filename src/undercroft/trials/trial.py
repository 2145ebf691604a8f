"""The trial of a project: one small file that says which routes meet and how far it is.

The gateway and the commands both change it, under a lock, each time as a whole new file that takes
the old one's place: who reads it finds one or the other. It needs no ledger, so that a bad route is
gone within a moment whatever else is down; the ledger is told of every change afterwards.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from undercroft.errors import BadInput, NotFound

Status = Literal["running", "held", "promoted", "rolled back", "stopped"]
Kind = Literal["rollout", "abtest"]

FILE: Final = "trial.json"
TALLY: Final = "trial-tally.json"


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """``canary`` and ``control`` are routes; ``share`` of the traffic goes to each.

    ``salt`` decides who is in which arm. Times are seconds since 1970. ``settings`` are those of
    the rollout when it began. ``version`` grows by one with each change, and ``told`` is the last
    of them that the ledger knows.
    """

    id: str
    kind: Kind
    canary: str
    control: str
    settings: dict[str, Any]
    started_by: str
    started_at: float
    step: int = 0
    share: float = 0.0
    step_at: float = 0.0
    status: Status = "running"
    reason: str = ""
    by: str = ""
    version: int = 1
    told: int = 0

    @property
    def salt(self) -> str:
        return self.id

    @property
    def is_open(self) -> bool:
        """Whether the canary may get traffic."""
        return self.status in ("running", "held")

    def gives_way_to(self, other: Trial) -> bool:
        """Whether ``other``, of another gateway, takes its place: a trial begun later, or a later
        turn of the same. What has ended stays as it ended first."""
        if self.id != other.id:
            return self.started_at < other.started_at
        return self.is_open and (not other.is_open or self.version < other.version)


def read(folder: Path) -> Trial | None:
    """The last trial of the project with the state ``folder``, open or not; None without one."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Trial)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise BadInput(
            f"{folder / FILE} cannot be read.",
            str(error),
            "Remove it; the live route is served to everybody.",
        ) from None


def begin(folder: Path, trial: Trial) -> Trial:
    """Write a new trial. Raises `BadInput` while another one is open."""
    with locked(folder):
        before = read(folder)
        if before is not None and before.is_open:
            raise BadInput(
                f"A {before.kind} of {before.canary} is {before.status}.",
                "There is one at a time.",
                "End it first: undercroft release promote, or undercroft release rollback",
            )
        (folder / TALLY).unlink(missing_ok=True)
        _write(folder / FILE, msgspec.json.encode(trial))
    return trial


def change(folder: Path, new: Callable[[Trial], Trial]) -> Trial:
    """Put ``new(the trial)`` in its place, with the next version. Raises `NotFound` without one;
    nothing is written where ``new`` gives the same back."""
    with locked(folder):
        before = read(folder)
        if before is None:
            raise NotFound(
                "There is no rollout.", do="Start one with: undercroft release start route:NAME@N"
            )
        after = new(before)
        if after is before:
            return before
        after = msgspec.structs.replace(after, version=before.version + 1)
        _write(folder / FILE, msgspec.json.encode(after))
    return after


def told(folder: Path, version: int) -> None:
    """Note that the ledger knows of ``version``."""
    with locked(folder):
        found = read(folder)
        if found is not None and found.told < version:
            _write(folder / FILE, msgspec.json.encode(msgspec.structs.replace(found, told=version)))


def adopt(folder: Path, other: Trial) -> None:
    """Have ``other``, which the ledger knows, in the place of what is here."""
    with locked(folder):
        found = read(folder)
        if found is None or found.id != other.id:
            (folder / TALLY).unlink(missing_ok=True)
        _write(
            folder / FILE, msgspec.json.encode(msgspec.structs.replace(other, told=other.version))
        )


def read_tally(folder: Path) -> dict[str, Any] | None:
    """What the gateway counted, and how the measures stood over time."""
    try:
        found: dict[str, Any] = msgspec.json.decode((folder / TALLY).read_bytes())
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return found


def write_tally(folder: Path, state: dict[str, Any]) -> None:
    _write(folder / TALLY, msgspec.json.encode(state))


def _write(path: Path, content: bytes) -> None:
    """Durably, all or nothing."""
    making = path.with_name(f".{path.name}.{os.getpid()}")
    with making.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    making.replace(path)


@contextmanager
def locked(folder: Path, what: str = "change") -> Iterator[None]:
    """One process at a time: to change the trial, or to do ``what`` else."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"trial-{what}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
