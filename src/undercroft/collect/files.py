"""Documents from a file or a folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from undercroft.collect.containers import READERS as CONTAINERS
from undercroft.collect.content import documents_of, ground_of, is_wanted
from undercroft.collect.documents import Collected, Gathering, Unchanged
from undercroft.collect.text import MIME_OF_SUFFIX
from undercroft.errors import BadSource
from undercroft.settings import CollectSettings


@dataclass(frozen=True)
class FileSource:
    """The file or the folder at ``path``; addresses are relative to ``root`` where they can be."""

    path: Path
    root: Path
    params: CollectSettings

    def fingerprint(self) -> str:
        """Of the paths, sizes and times of the files that would be read."""
        digest = hashlib.sha256(str(self.path).encode("utf-8", "surrogateescape"))
        for file in self.files():
            stamp = f"\0{self._address(file)}\0{self._stamp(file)}"
            digest.update(stamp.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def collect(self, gathering: Gathering) -> Iterator[Collected | Unchanged]:
        files = list(self.files())
        if not files:
            raise self._nothing()
        for number, file in enumerate(files):
            address = self._address(file)
            gathering.report(number, len(files), address)
            if self._stamp(file) in gathering.earlier.etags(address):
                yield Unchanged(file=address)
            else:
                stamp = self._stamp(file)
                yield from documents_of(
                    file, address, self.params, stamp, partial(self._stamp, file)
                )
        gathering.report(len(files), len(files), "")

    def files(self) -> Iterator[Path]:
        """The files to read, in the order of their names; links to folders are not followed."""
        if not self.path.is_dir():
            if self.path.exists():
                yield self.path
            return
        for folder, names, files in os.walk(self.path):
            names[:] = sorted(name for name in names if not self._is_excluded(name))
            for name in sorted(files):
                file = Path(folder, name)
                if self._is_excluded(name):
                    continue
                if is_wanted(file, file.relative_to(self.path).as_posix(), self.params):
                    yield file

    def _is_excluded(self, name: str) -> bool:
        return name == ".undercroft" or any(fnmatch(name, glob) for glob in self.params.exclude)

    def _address(self, file: Path) -> str:
        if file.is_relative_to(self.root):
            return file.relative_to(self.root).as_posix()
        return file.as_uri()

    def _stamp(self, file: Path) -> str:
        """Size, times of last change and `ground_of`; another means that it is to be read again."""
        try:
            status = file.stat()
        except OSError:
            return "unreadable"
        times = f"{status.st_mtime_ns}-{status.st_ctime_ns}"
        return f"{status.st_size}-{times}-{ground_of(self.params)}"

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
