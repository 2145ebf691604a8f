"""Documents from a file or a folder."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property, partial
from pathlib import Path
from typing import Final

from undercroft.collect.containers import READERS as CONTAINERS
from undercroft.collect.content import documents_of, ground_of, is_wanted
from undercroft.collect.documents import Collected, Gathering, Unchanged
from undercroft.collect.text import MIME_OF_SUFFIX
from undercroft.errors import BadSource
from undercroft.settings import CollectSettings

#: Our own folder.
_OWN: Final = ".undercroft"


@dataclass(frozen=True, slots=True)
class Found:
    """A file to read. ``stamp`` is of its size, times of last change and `ground_of` the settings;
    another means that it has to be read again."""

    path: str
    address: str
    stamp: str


@dataclass(frozen=True)
class FileSource:
    """The file or the folder at ``path``; addresses are relative to ``root`` where they can be."""

    path: Path
    root: Path
    params: CollectSettings

    def fingerprint(self) -> str:
        """Of the addresses, sizes and times of the files that would be read."""
        digest = hashlib.sha256(str(self.path).encode("utf-8", "surrogateescape"))
        for file in self.files():
            digest.update(f"\0{file.address}\0{file.stamp}".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def collect(self, gathering: Gathering) -> Iterator[Collected | Unchanged]:
        files = list(self.files())
        if not files:
            raise self._nothing()
        for number, file in enumerate(files):
            gathering.report(number, len(files), file.address)
            if file.stamp in gathering.earlier.etags(file.address):
                yield Unchanged(file=file.address)
            else:
                now = partial(self._stamp_now, file.path)
                path = Path(file.path)
                yield from documents_of(path, file.address, self.params, file.stamp, now)
        gathering.report(len(files), len(files), "")

    def files(self) -> Iterator[Found]:
        """The files to read, in the order of their names; links to folders are not followed."""
        if self.path.is_dir():
            yield from self._below(str(self.path), "", self._prefix)
        elif self.path.exists():
            path = str(self.path)
            yield Found(path, self._prefix.rstrip("/"), self._stamp_now(path))

    def _below(self, folder: str, relative: str, prefix: str) -> Iterator[Found]:
        """The files in ``folder``, then those in its folders; paths are text, which is ten times
        as fast as objects for folders of many files."""
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:
            return
        inner: list[os.DirEntry[str]] = []
        for entry in entries:
            if entry.name == _OWN or self._excluded.match(entry.name):
                continue
            if entry.is_dir():
                inner += [] if entry.is_symlink() else [entry]
            elif is_wanted(entry.name, relative + entry.name, self.params):
                address = prefix + self._quoted(entry.name)
                yield Found(entry.path, address, self._stamp(entry))
        for entry in inner:
            name = f"{self._quoted(entry.name)}/"
            yield from self._below(entry.path, f"{relative}{entry.name}/", prefix + name)

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
