"""Folders that a process that stays was told about: looking again costs what changed in them.

Linux tells a process of every change in the folders it asked about (inotify). One that was listed,
and of which nothing was told since, is as it was. Folders whose changes the kernel may not know of
(network file systems, files that are links to others) are listed anew every time, and all of them
every `FULL_LOOK_S`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import psutil

T = TypeVar("T")

FULL_LOOK_S: Final = 600.0
_QUIET_S: Final = 0.2
_LONGEST_UNREST_S: Final = 5.0
#: File systems whose every change goes through this kernel.
_LOCAL: Final = frozenset(
    ("bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs")
)


class Live:
    """What was listed of folders, until something in them changes. Safe for threads.

    Raises `OSError` where the kernel does not tell of changes.
    """

    def __init__(self) -> None:
        try:
            from inotify_simple import INotify, flags
        except (ImportError, AttributeError) as error:  # it needs Linux
            raise OSError("Changes of folders are told on Linux only.") from error
        self._flags: Any = flags
        self._kernel: Any = INotify()
        self._asked: Final = (
            flags.CREATE | flags.DELETE | flags.MODIFY | flags.CLOSE_WRITE | flags.ATTRIB
            | flags.MOVED_FROM | flags.MOVED_TO | flags.DELETE_SELF | flags.MOVE_SELF
            | flags.ONLYDIR
        )  # fmt: skip
        self._lock = threading.RLock()
        self._paths: dict[int, str] = {}
        self._listed: dict[str, dict[Hashable, Any]] = {}
        self._is_local: dict[int, bool] = {}
        self._looked = time.monotonic()
        self._changed = threading.Event()

    def listed(self, folder: str, key: Hashable, scan: Callable[[], tuple[T, bool]]) -> T:
        """What ``scan`` gives of ``folder``, from memory where nothing changed since it did.

        ``key`` is of what else it depends on. It also says whether the kernel would tell of
        everything that could make it give something else.
        """
        with self._lock:
            known = self._listed.get(folder)
            if known is not None and key in known:
                return known[key]  # type: ignore[no-any-return]
            known = self._listed[folder] = known if known is not None else {}
            is_told = self._ask(folder)  # before the scan: what changes meanwhile is told
        found, is_whole = scan()
        with self._lock:
            if is_told and is_whole and self._listed.get(folder) is known:
                known[key] = found
        return found

    def drain(self) -> bool:
        """Take note of everything that changed before this call; whether anything did."""
        with self._lock:
            told = list(self._kernel.read(timeout=0))
            for event in told:
                self._take(event)
                self._changed.set()
            if time.monotonic() - self._looked > FULL_LOOK_S:
                self._forget_all()
            return bool(told)

    def wait(self, timeout_s: float) -> bool:
        """Until something has changed since the last call and all is quiet again, or the time is
        over; whether anything has."""
        if not self._changed.is_set():
            self._poll(timeout_s)
        ends = time.monotonic() + _LONGEST_UNREST_S
        while self.drain() and time.monotonic() < ends:
            self._poll(_QUIET_S)
        has_changed = self._changed.is_set()
        self._changed.clear()
        return has_changed

    def close(self) -> None:
        self._kernel.close()

    def _poll(self, timeout_s: float) -> bool:
        from select import select

        return bool(select([self._kernel.fileno()], [], [], timeout_s)[0])

    def _ask(self, folder: str) -> bool:
        """Have the kernel tell of ``folder``; whether it will."""
        with suppress(OSError):  # gone meanwhile, or more than fs.inotify.max_user_watches
            device = os.stat(folder).st_dev
            if device not in self._is_local:
                self._is_local[device] = _is_local(folder)
            if self._is_local[device]:
                self._paths[self._kernel.add_watch(folder, self._asked)] = folder
                return True
        return False

    def _take(self, event: Any) -> None:
        if event.mask & self._flags.Q_OVERFLOW:
            self._forget_all()
            return
        folder = self._paths.get(event.wd)
        if event.mask & self._flags.IGNORED:
            self._paths.pop(event.wd, None)
        if folder is None:
            return
        self._listed.pop(folder, None)
        if event.mask & self._flags.ISDIR and event.name:
            self._forget_below(os.path.join(folder, event.name))

    def _forget_below(self, folder: str) -> None:
        """Another folder may be at this path by now, of which the kernel tells under no name."""
        inner = [each for each in self._listed if f"{each}/".startswith(f"{folder}/")]
        for each in inner:
            del self._listed[each]

    def _forget_all(self) -> None:
        self._listed.clear()
        self._looked = time.monotonic()


def _is_local(folder: str) -> bool:
    path = Path(folder).resolve()
    mounts = {each.mountpoint: each.fstype for each in psutil.disk_partitions(all=True)}
    nearest = next((str(each) for each in (path, *path.parents) if str(each) in mounts), "")
    return mounts.get(nearest, "") in _LOCAL


#: That of this process, where it stays: see `watching`.
_LIVE: Live | None = None


def start() -> Live | None:
    """Remember listings from now on in this process; None where the kernel does not tell."""
    global _LIVE  # noqa: PLW0603
    with suppress(OSError):
        _LIVE = Live()
    return _LIVE


def stop() -> None:
    """Remember none any more."""
    global _LIVE
    live, _LIVE = _LIVE, None
    if live is not None:
        live.close()


def listed(folder: str, key: Hashable, scan: Callable[[], tuple[T, bool]]) -> T:
    """`Live.listed` where this process stays, and a scan where it does not."""
    return _LIVE.listed(folder, key, scan) if _LIVE is not None else scan()[0]


def drain() -> None:
    """`Live.drain`, where this process stays."""
    if _LIVE is not None:
        _LIVE.drain()
