"""Documents from a file or a folder."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Final

from undercroft.collect import live
from undercroft.collect.containers import READERS as CONTAINERS
from undercroft.collect.content import documents_of, ground_of, is_wanted
from undercroft.collect.documents import Collected, Gathering, Unchanged
from undercroft.collect.text import MIME_OF_SUFFIX
from undercroft.errors import BadSource
from undercroft.settings import CollectSettings

#: Our own folder.
_OWN: Final = ".undercroft"


@dataclass(frozen=True, slots=True)
class Folder:
    """The files to read of one folder, in the order of their names: paths, addresses and stamps.

    A stamp is of a file's size, times of last change and `ground_of` the settings; another means
    that it has to be read again. Columns of text are several times as fast as a record a file.
    """

    paths: Sequence[str]
    addresses: Sequence[str]
    stamps: Sequence[str]

    def print(self) -> bytes:
        """The SHA-256 of addresses and stamps."""
        said = "\0".join(chain(self.addresses, self.stamps))
        return hashlib.sha256(said.encode("utf-8", "surrogateescape")).digest()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a folder is: its path, the same from the source's own, and how addresses begin."""

    path: str
    relative: str
    prefix: str


@dataclass(frozen=True)
class FileSource:
    """The file or the folder at ``path``; addresses are relative to ``root`` where they can be."""

    path: Path
    root: Path
    params: CollectSettings

    def fingerprint(self) -> str:
        """Of the addresses, sizes and times of the files that would be read."""
        digest = hashlib.sha256(str(self.path).encode("utf-8", "surrogateescape"))
        if self.path.is_dir():
            live.drain()
            key = f"{_identity(self.path)}\0{self._prefix}\0{self.params.model_dump_json()}"
            self._print(self._place, key, digest.update)
        else:
            for file in self.folders():
                digest.update(file.print())
        return digest.hexdigest()

    def collect(self, gathering: Gathering) -> Iterator[Collected | Unchanged]:
        folders = list(self.folders())
        done, total = 0, sum(len(folder.paths) for folder in folders)
        if not total:
            raise self._nothing()
        for folder in folders:
            unchanged = gathering.earlier.unchanged(folder.addresses, folder.stamps)
            files = zip(folder.paths, folder.addresses, folder.stamps, unchanged, strict=True)
            for at, (path, address, stamp, is_unchanged) in enumerate(files, done):
                if not is_unchanged:
                    gathering.report(at, total, address)
                    now = partial(self._stamp_now, path)
                    yield from documents_of(Path(path), address, self.params, stamp, now)
            done += len(folder.paths)
            gathering.report(done, total, "")

    def folders(self) -> Iterator[Folder]:
        """The folders with their files, by name; links to folders are not followed."""
        if self.path.is_dir():
            yield from self._below(self._place)
        elif self.path.exists():
            path = str(self.path)
            yield Folder([path], [self._prefix.rstrip("/")], [self._stamp_now(path)])

    def _below(self, place: Place) -> Iterator[Folder]:
        """The files in a folder, then those in its folders."""
        files, inner = self._scan(place)
        yield self._folder(place, files)
        for each in inner:
            yield from self._below(each)

    def _print(self, place: Place, key: str, update: Callable[[bytes], None]) -> None:
        """Tell ``update`` what a folder and those in it look like; ``key`` is of all that this
        depends on besides."""

        def look() -> tuple[tuple[bytes, list[Place]], bool]:
            files, inner = self._scan(place)
            return (self._folder(place, files).print(), inner), all(map(_is_only_here, files))

        said, inner = live.listed(place.path, key, look)
        update(said)
        for each in inner:
            self._print(each, key, update)

    def _scan(self, place: Place) -> tuple[list[os.DirEntry[str]], list[Place]]:
        """The files and the folders in a folder, by name; nothing where it cannot be read."""
        try:
            with os.scandir(place.path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:
            return [], []
        files: list[os.DirEntry[str]] = []
        inner: list[os.DirEntry[str]] = []
        for entry in entries:
            if entry.name == _OWN or self._excluded.match(entry.name):
                continue
            if entry.is_dir():
                inner += [] if entry.is_symlink() else [entry]
            elif is_wanted(entry.name, place.relative + entry.name, self.params):
                files.append(entry)
        return files, [
            Place(
                each.path,
                f"{place.relative}{each.name}/",
                f"{place.prefix}{self._quoted(each.name)}/",
            )
            for each in inner
        ]

    def _folder(self, place: Place, files: Sequence[os.DirEntry[str]]) -> Folder:
        return Folder(
            [file.path for file in files],
            [place.prefix + self._quoted(file.name) for file in files],
            [self._stamp(file) for file in files],
        )

    @property
    def _place(self) -> Place:
        return Place(str(self.path), "", self._prefix)

    @cached_property
    def _excluded(self) -> re.Pattern[str]:
        return re.compile("|".join(map(translate, self.params.exclude)) or "(?!)")

    @cached_property
    def _prefix(self) -> str:
        """The address of the path itself, as that of a folder."""
        if not self.path.is_relative_to(self.root):
            return f"{self.path.as_uri()}/"
        relative = self.path.relative_to(self.root).as_posix()
        return "" if relative == "." else f"{relative}/"

    def _quoted(self, name: str) -> str:
        """A name as it is in addresses: outside of the project these are URIs."""
        is_plain = name.isascii() and name.replace(".", "").replace("_", "").isalnum()
        if is_plain or self.path.is_relative_to(self.root):
            return name
        return Path("/", name).as_uri().removeprefix("file:///")

    def _stamp_now(self, path: str) -> str:
        return self._stamp(Path(path))

    def _stamp(self, file: os.DirEntry[str] | Path) -> str:
        try:
            status = file.stat()
        except OSError:
            return "unreadable"
        times = f"{status.st_mtime_ns}-{status.st_ctime_ns}"
        return f"{status.st_size}-{times}-{self._ground}"

    @cached_property
    def _ground(self) -> str:
        return ground_of(self.params)

    def _nothing(self) -> BadSource:
        if not self.path.exists():
            return BadSource(
                f"There is no file or folder {self.path}.",
                "Sources are paths relative to the project's folder, URLs, or python-docs.",
                "Correct `sources` under [collect], or give an existing path.",
            )
        types = ", ".join(sorted({*MIME_OF_SUFFIX, *CONTAINERS}))
        return BadSource(
            f"There are no documents in {self.path}.",
            f"No file in it matches {', '.join(self.params.include) or types}.",
            "Put documents there, or name what to take with `include` under [collect].",
        )


def _identity(folder: Path) -> str:
    """Which folder it is: another may be at the path by now, where one above was renamed."""
    try:
        status = folder.stat()
    except OSError:
        return ""
    return f"{status.st_dev}-{status.st_ino}"


def _is_only_here(file: os.DirEntry[str]) -> bool:
    """Whether a file can be changed by way of its own folder alone."""
    try:
        return not file.is_symlink() and file.stat().st_nlink == 1
    except OSError:
        return False
