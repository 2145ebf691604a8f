"""Everything a run needs to go on as if it had never stopped, written so that half is nothing.

A checkpoint is a folder: tensors (safetensors), ``state.json``, and ``manifest.json`` with the
digests of both, which is written last. It is made under another name and renamed, so that a folder
called ``checkpoint-N`` was whole once; that it still is, its digests say when it is read. Of
several processes each writes what it holds into a file of its own, and none ever has it all; the
manifest says where each block lies, so that any other number of processes can read theirs.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from undercroft.errors import StageFailed
from undercroft.train.parallel.parts import Saved
from undercroft.train.parallel.placement import Part
from undercroft.train.parallel.team import Group, Single

_PREFIX = "checkpoint-"
_BROKEN = "broken-"
_MAKING = "making-"
_TENSORS = "tensors.safetensors"
_STATE = "state.json"
_MANIFEST = "manifest.json"

FAILURES = (OSError, SafetensorError)
"""What writing a checkpoint raises when the disk is full, or broken."""

Event = Callable[[str, Mapping[str, Any]], None]

R = TypeVar("R")


@dataclass(frozen=True)
class Checkpoint:
    """``tensors`` of the optimizer and of others; ``state`` is the rest, plain JSON.

    ``is_good`` when nothing was wrong with the run: it may go back to this one. The ``tensors``
    are this rank's, and ``places`` says of those that are blocks where they lie.
    """

    step: int
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]
    is_good: bool = True
    places: Mapping[str, Part] = field(default_factory=dict[str, Part])


@dataclass(frozen=True)
class Found(Checkpoint):
    """A checkpoint that was read."""

    tensors: Saved


@dataclass(frozen=True)
class _Kept:
    """A checkpoint on disk and what its manifest says; nothing of it is verified yet."""

    path: Path
    step: int
    config_digest: str = ""
    is_good: bool = False
    sha256: Mapping[str, str] = field(default_factory=dict[str, str])
    places: Mapping[str, Mapping[str, Part]] = field(default_factory=dict[str, Mapping[str, Part]])


class Store:
    """The checkpoints in ``folder`` of the run whose configuration has ``config_digest``.

    The newest ``keep`` stay, and as many of the newest good ones, so that where a run may go back
    to does not depend on what else was saved. Those of other configurations are left alone.
    The one of ``pinned`` stays as well, if there is one. ``event`` is told of each that turns out
    to be broken, which is put aside under another name. All of ``group`` write together, and read
    together, in a folder that they share.
    """

    def __init__(
        self,
        folder: Path,
        config_digest: str,
        keep: int,
        event: Event,
        group: Group | None = None,
    ) -> None:
        self._folder = folder
        self._digest = config_digest
        self._keep = keep
        self._event = event
        self.pinned: int | None = None
        self._group = group or Single()
        self._is_first = self._group.rank == 0
        many = self._group.size > 1
        self._tensors = f"tensors-{self._group.rank:05}.safetensors" if many else _TENSORS

    def write(self, checkpoint: Checkpoint) -> None:
        """Write ``checkpoint``, then remove what need not be kept; raises one of `FAILURES`, on
        all ranks when any of them fails.

        After a failure all is as it was before.
        """
        name = f"{_PREFIX}{checkpoint.step}"
        making = self._folder / f"{_MAKING}{name}"
        try:
            self._together(lambda: self._begin(making))
            written = self._together(lambda: self._fill(making, checkpoint))
            self._together(lambda: self._finish(making, checkpoint, written))
        except FAILURES:
            if self._is_first:
                shutil.rmtree(making, ignore_errors=True)
            raise

    def read(self, *, good_before: int | None = None, exactly: int | None = None) -> Found | None:
        """The newest checkpoint that is what was written; None when there is none.

        With ``good_before`` the newest good one of a step below that; with ``exactly`` the one of
        that step. Ranks share the work of looking, and get the same.
        """
        for name in self._group.from_first([each.path.name for each in reversed(self._own())]):
            kept = _kept(self._folder / name)
            if exactly is not None and kept.step != exactly:
                continue
            if good_before is not None and not (kept.is_good and kept.step < good_before):
                continue
            wrong = next(filter(None, self._group.gather(self._wrong_with(kept))), "")
            if not wrong:
                return _load(kept)
            if self._is_first:
                self._put_aside(kept.path, wrong)
        return None

    def tidy(self) -> None:
        """Remove what a run that was killed left half written."""
        if self._is_first:
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

    def _together(self, work: Callable[[], R]) -> list[R]:
        """What ``work`` gave on each rank; raises what it raised here, or tells what it did there.

        Nobody goes on before all are done.
        """
        mine: R | None = None
        failed: Exception | None = None
        try:
            mine = work()
        except Exception as error:
            failed = error
        told = self._group.gather((mine, str(failed) if failed else ""))
        if failed is not None:
            raise failed
        for rank, (_, why) in enumerate(told):
            if why:
                raise OSError(f"rank {rank}: {why}")
        return [given for given, _ in told if given is not None]

    def _begin(self, making: Path) -> None:
        if self._is_first:
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir(parents=True)

    def _fill(self, making: Path, checkpoint: Checkpoint) -> tuple[str, str, dict[str, Part]]:
        """Write this rank's tensors; gives their file, its digest, and where its blocks lie."""
        save_file(dict(checkpoint.tensors), making / self._tensors)
        places = {
            name: part
            for name, part in checkpoint.places.items()
            if part.whole != tuple(checkpoint.tensors[name].shape)
        }
        return self._tensors, _sealed(making / self._tensors), places

    def _finish(
        self,
        making: Path,
        checkpoint: Checkpoint,
        written: Sequence[tuple[str, str, Mapping[str, Part]]],
    ) -> None:
        """Write all else, and give the folder the name by which it counts."""
        if not self._is_first:
            return
        state = json.dumps({"step": checkpoint.step, **checkpoint.state})
        (making / _STATE).write_text(state, encoding="utf-8")
        digests = {file: digest for file, digest, _ in written}
        manifest = {
            "config_digest": self._digest,
            "is_good": checkpoint.is_good,
            "sha256": {**digests, _STATE: _sealed(making / _STATE)},
            "places": {
                file: {name: [part.whole, part.at] for name, part in places.items()}
                for file, _, places in written
                if places
            },
        }
        manifest["own"] = _own_digest(manifest)
        (making / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        _sealed(making / _MANIFEST)
        _move(making, self._folder / f"{_PREFIX}{checkpoint.step}")
        self._prune()

    def _wrong_with(self, kept: _Kept) -> str:
        """What is wrong with this rank's share of the files; nothing if they are as written."""
        if not kept.sha256:
            return f"{_MANIFEST} is missing or damaged"
        for name in sorted(kept.sha256)[self._group.rank :: self._group.size]:
            try:
                if _digest(kept.path / name) != kept.sha256[name]:
                    return f"{name} is not what was written"
            except OSError as error:
                return str(error)
        return ""

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
        if manifest.pop("own") != _own_digest(manifest):
            return _Kept(path, step)
        digests, is_good = dict(manifest["sha256"]), manifest["is_good"]
        places = {file: dict(_places(each)) for file, each in manifest["places"].items()}
        return _Kept(path, step, manifest["config_digest"], is_good, digests, places)
    except (OSError, ValueError, KeyError, TypeError):
        return _Kept(path, step)


def _places(written: Mapping[str, Any]) -> Iterator[tuple[str, Part]]:
    for name, (whole, at) in written.items():
        yield name, Part(tuple(whole), tuple(at))


def _load(kept: _Kept) -> Found:
    state = json.loads((kept.path / _STATE).read_text(encoding="utf-8"))
    files = [kept.path / name for name in sorted(kept.sha256) if name != _STATE]
    return Found(state["step"], Saved(files, kept.places), state, kept.is_good)


def _own_digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


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
