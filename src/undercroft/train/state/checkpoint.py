"""Everything a run needs to go on as if it had never stopped, written so that half is nothing.

A checkpoint is a folder: tensors (safetensors), ``state.json``, and ``manifest.json`` with the
digests of both, which is written last. It is made under another name and renamed, so that a folder
called ``checkpoint-N`` was whole once; that it still is, its digests say when it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from undercroft.errors import StageFailed

_PREFIX = "checkpoint-"
_BROKEN = "broken-"
_MAKING = "making-"
_TENSORS = "tensors.safetensors"
_STATE = "state.json"
_MANIFEST = "manifest.json"

FAILURES = (OSError, SafetensorError)
"""What writing a checkpoint raises when the disk is full, or broken."""

Event = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Checkpoint:
    """``tensors`` of the optimizer and of others; ``state`` is the rest, plain JSON.

    ``is_good`` when nothing was wrong with the run: it may go back to this one.
    """

    step: int
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]
    is_good: bool = True


@dataclass(frozen=True)
class _Kept:
    """A checkpoint on disk and what its manifest says; nothing of it is verified yet."""

    path: Path
    step: int
    config_digest: str = ""
    is_good: bool = False
    sha256: Mapping[str, str] | None = None


class Store:
    """The checkpoints in ``folder`` of the run whose configuration has ``config_digest``.

    The newest ``keep`` stay, and as many of the newest good ones, so that where a run may go back
    to does not depend on what else was saved. Those of other configurations are left alone.
    The one of ``pinned`` stays as well, if there is one. ``event`` is told of each that turns out
    to be broken, which is put aside under another name.
    """

    def __init__(self, folder: Path, config_digest: str, keep: int, event: Event) -> None:
        self._folder = folder
        self._digest = config_digest
        self._keep = keep
        self._event = event
        self.pinned: int | None = None

    def write(self, checkpoint: Checkpoint) -> None:
        """Write ``checkpoint``, then remove what need not be kept; raises one of `FAILURES`.

        After a failure all is as it was before.
        """
        name = f"{_PREFIX}{checkpoint.step}"
        making = self._folder / f"{_MAKING}{name}"
        shutil.rmtree(making, ignore_errors=True)
        try:
            making.mkdir(parents=True)
            self._fill(making, checkpoint)
            _move(making, self._folder / name)
        except FAILURES:
            shutil.rmtree(making, ignore_errors=True)
            raise
        self._prune()

    def read(
        self, *, good_before: int | None = None, exactly: int | None = None
    ) -> Checkpoint | None:
        """The newest checkpoint that is what was written; None when there is none.

        With ``good_before`` the newest good one of a step below that; with ``exactly`` the one of
        that step.
        """
        for kept in reversed(self._own()):
            if exactly is not None and kept.step != exactly:
                continue
            if good_before is not None and not (kept.is_good and kept.step < good_before):
                continue
            try:
                return _load(kept)
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                self._put_aside(kept.path, str(error) or type(error).__name__)
        return None

    def read_step(self, step: int) -> Checkpoint:
        """The checkpoint of ``step``, which another process found whole; raises `OSError`."""
        return _load(_kept(self._folder / f"{_PREFIX}{step}"))

    def tidy(self) -> None:
        """Remove what a run that was killed left half written."""
        for half in self._folder.glob(f"{_MAKING}*"):
            shutil.rmtree(half, ignore_errors=True)

    def check_none_was_lost(self) -> None:
        """Raise `StageFailed` when there were checkpoints, all of them broken."""
        broken = sorted(self._folder.glob(f"{_BROKEN}*"))
        if broken:
            raise StageFailed(
                f"None of the {len(broken)} checkpoints of this run can be read.",
                "Each is damaged, and require_resume is set.",
                f"Restore {self._folder} from a backup, or delete it to begin again.",
            )

    def _fill(self, making: Path, checkpoint: Checkpoint) -> None:
        save_file(dict(checkpoint.tensors), making / _TENSORS)
        state = json.dumps({"step": checkpoint.step, **checkpoint.state})
        (making / _STATE).write_text(state, encoding="utf-8")
        manifest = {
            "config_digest": self._digest,
            "is_good": checkpoint.is_good,
            "sha256": {name: _sealed(making / name) for name in (_TENSORS, _STATE)},
        }
        (making / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        _sealed(making / _MANIFEST)

    def _own(self) -> list[_Kept]:
        """Those of this configuration, and those that do not say of which; oldest first."""
        found = [_kept(path) for path in self._folder.glob(f"{_PREFIX}*")]
        return sorted(
            (each for each in found if each.config_digest in (self._digest, "")),
            key=lambda each: each.step,
        )

    def _prune(self) -> None:
        own = self._own()
        good = [each for each in own if each.is_good]
        staying = {each.path for each in (*own[-self._keep :], *good[-self._keep :])}
        staying |= {each.path for each in own if each.step == self.pinned}
        for each in own:
            if each.path not in staying:
                shutil.rmtree(each.path, ignore_errors=True)

    def _put_aside(self, path: Path, why: str) -> None:
        self._event("checkpoint_broken", {"checkpoint": path.name, "why": why})
        aside = path.with_name(f"{_BROKEN}{path.name}")
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)


def _kept(path: Path) -> _Kept:
    number = path.name.removeprefix(_PREFIX)
    step = int(number) if number.isdecimal() else -1
    try:
        manifest = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        return _Kept(
            path, step, manifest["config_digest"], manifest["is_good"], dict(manifest["sha256"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return _Kept(path, step)


def _load(kept: _Kept) -> Checkpoint:
    """Raises an error that says what is wrong with a checkpoint that is not what was written."""
    if kept.sha256 is None:
        raise ValueError(f"{_MANIFEST} is missing or damaged")
    for name in (_TENSORS, _STATE):
        if _digest(kept.path / name) != kept.sha256[name]:
            raise ValueError(f"{name} is not what was written")
    state = json.loads((kept.path / _STATE).read_text(encoding="utf-8"))
    return Checkpoint(state["step"], load_file(kept.path / _TENSORS), state, kept.is_good)


def _sealed(path: Path) -> str:
    """The digest of a file that was just written, once it is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return _digest(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _move(making: Path, final: Path) -> None:
    """Rename, in place of one that is there, so that the new name outlasts a power cut."""
    if final.exists():
        aside = making.with_name(f"{_MAKING}old-{final.name}")
        shutil.rmtree(aside, ignore_errors=True)
        final.rename(aside)
        making.rename(final)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        making.rename(final)
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
