"""Documents from a file or a folder."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from undercroft.collect.containers import READERS as CONTAINERS
from undercroft.collect.containers import is_container, is_expected, read_container
from undercroft.collect.documents import Collected, Gathering, Unchanged
from undercroft.collect.readers import read
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
                yield from self._read(file, address)
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
                if not self._is_excluded(name) and self._is_wanted(file):
                    yield file

    def _is_excluded(self, name: str) -> bool:
        return name == ".undercroft" or any(fnmatch(name, glob) for glob in self.params.exclude)

    def _is_wanted(self, file: Path) -> bool:
        if not self.params.include:
            return file.suffix.lower() in MIME_OF_SUFFIX or is_expected(file)
        relative = file.relative_to(self.path).as_posix()
        return any(fnmatch(relative, g) or fnmatch(file.name, g) for g in self.params.include)

    def _address(self, file: Path) -> str:
        if file.is_relative_to(self.root):
            return file.relative_to(self.root).as_posix()
        return file.as_uri()

    def _read(self, file: Path, address: str) -> Iterator[Collected]:
        """The documents of ``file``, each under an address of its own.

        The last one carries the file's stamp: whoever holds it has all of them.
        """
        stamp = self._stamp(file)
        seen: Counter[int] = Counter()
        last: Collected | None = None
        for found in self._documents(file, address):
            if last is not None:
                yield last
            seen[hash(found.uri)] += 1
            again = seen[hash(found.uri)]
            uri = found.uri if again == 1 else f"{found.uri}~{again}"
            inner = Path(found.uri.partition("#")[0].rpartition("!/")[2] or file.name)
            last = replace(found, uri=uri, title=found.title or _said(inner), file=address)
        if last is None:
            return
        if self._stamp(file) == stamp:
            yield replace(last, etag=stamp)
        else:
            yield last
            reason = "changed: it was written to while it was read; the next run reads it again"
            yield Collected(f"{address}#changed", file=address, reason=reason)

    def _documents(self, file: Path, address: str) -> Iterator[Collected]:
        limit = int(self.params.max_file_mb * 1e6)
        try:
            if is_container(file):
                yield from read_container(file, address, limit)
                return
            size = file.stat().st_size
            data = file.read_bytes() if size <= limit else b""
        except OSError as error:
            yield Collected(address, reason=f"unreadable: {error.strerror or error}")
            return
        if size > limit:
            reason = f"too_large: {size / 1e6:.1f} MB is over {self.params.max_file_mb:g} MB"
            yield Collected(address, reason=reason, size_bytes=size)
        else:
            yield from read(address, data, declared=MIME_OF_SUFFIX.get(file.suffix.lower(), ""))

    def _stamp(self, file: Path) -> str:
        """Size, times of last change, and the settings that rows are written under; another stamp
        means that the file has to be read again."""
        try:
            status = file.stat()
        except OSError:
            return "unreadable"
        ground = hashlib.sha256(f"{self.params.consent}\0{self.params.licence}".encode())
        times = f"{status.st_mtime_ns}-{status.st_ctime_ns}"
        return f"{status.st_size}-{times}-{ground.hexdigest()[:8]}"

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


def _said(file: Path) -> str:
    """The name of a file as a title."""
    return file.stem.replace("_", " ").replace("-", " ")
