"""Files and folders kept under their content's digest: models, embeddings, selections, suites.

A blob appears whole or not at all: it is made durable beside the store and then renamed into
place. Its files are read-only. Putting the same content twice keeps one copy.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from undercroft.errors import BadInput, NotFound, Tampered
from undercroft.lake.faults import told

_SCHEME = "blob:"
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_INCOMING = ".incoming"
_READ_BYTES = 1 << 20
#: A blob this young may belong to a run that has not committed yet.
SWEEP_GRACE = timedelta(hours=1)


class Blobs:
    """The blob store in the folder ``root``."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def put(self, path: Path, kind: str, name: str) -> tuple[str, str, int]:
        """Move the file or folder at ``path`` into the store.

        Returns its URI (``blob:kind/name/digest``), its SHA-256 and its size in bytes. Raises
        `BadInput` for what is neither file nor folder, and `StorageFull`.
        """
        if not _PART.match(kind) or not _PART.match(name):
            raise BadInput(f"{kind}/{name} cannot name a blob.", "Use letters, digits, . _ and -.")
        with told(f"keep {path}"):
            digest, size = digest_of(path)
            suffix = path.suffix if path.is_file() else ""
            place = f"{kind}/{name}/{digest[:32]}{suffix}"
            target = self.root / place
            if target.exists():
                _remove(path)
            else:
                self._move_in(path, target)
        return f"{_SCHEME}{place}", digest, size

    def path(self, uri: str) -> Path:
        """Where the blob ``uri`` is; raises `NotFound` when it is not in the store."""
        parts = uri.removeprefix(_SCHEME).split("/")
        wellformed = uri.startswith(_SCHEME) and len(parts) == 3 and all(map(_PART.match, parts))
        path = self.root.joinpath(*parts) if wellformed else None
        if path is None or not path.exists():
            raise NotFound(f"There is no blob {uri}.", do="Run the stage that made it again.")
        return path

    def verify(self, uri: str, digest: str) -> None:
        """Raise `Tampered` unless the blob's content still has the SHA-256 ``digest``."""
        found, _ = digest_of(self.path(uri))
        if found != digest:
            raise Tampered(
                f"The blob {uri} is not what was written.",
                f"Its digest is {found[:12]}…, recorded is {digest[:12]}….",
                "Restore it from a backup or run the stage that made it again.",
            )

    def sweep(self, keep: set[str], grace: timedelta = SWEEP_GRACE) -> int:
        """Remove every blob that is not in ``keep`` and older than ``grace``; return the bytes."""
        before = time.time() - grace.total_seconds()
        freed = 0
        for path in [*self.root.glob("[!.]*/*/*"), *self.root.glob(f"{_INCOMING}/*")]:
            uri = _SCHEME + path.relative_to(self.root).as_posix()
            if uri not in keep and path.stat().st_ctime <= before:
                freed += sum(file.stat().st_size for file in _files(path))
                _remove(path)
        return freed

    def _move_in(self, path: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            _make_durable(path)
            _rename(path, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._copy_in(path, target)
        _remove(path)
        _sync(target.parent)

    def _copy_in(self, path: Path, target: Path) -> None:
        """From another file system: copy beside the store first, so that the rename is atomic."""
        incoming = self.root / _INCOMING / uuid.uuid4().hex
        incoming.parent.mkdir(parents=True, exist_ok=True)
        try:
            if path.is_dir():
                shutil.copytree(path, incoming)
            else:
                shutil.copyfile(path, incoming)
            _make_durable(incoming)
            _rename(incoming, target)
        finally:
            _remove(incoming)


def digest_of(path: Path) -> tuple[str, int]:
    """SHA-256 and size in bytes of a file, or of a folder.

    A folder's digest is over each file in the order of its relative POSIX path: the path, a NUL,
    the size as 8 bytes big-endian, the content. Raises `BadInput` for links and special files.
    """
    total = 0
    whole = hashlib.sha256()
    for file in _files(path):
        size = file.stat().st_size
        if path.is_dir():
            whole.update(file.relative_to(path).as_posix().encode("utf-8", "surrogateescape"))
            whole.update(b"\0" + size.to_bytes(8, "big"))
        with file.open("rb") as content:
            while block := content.read(_READ_BYTES):
                whole.update(block)
        total += size
    return whole.hexdigest(), total


def _files(path: Path) -> Iterator[Path]:
    """The regular files at or under ``path``, sorted by relative path."""
    if path.is_symlink() or not (path.is_file() or path.is_dir()):
        raise BadInput(f"{path} is neither a file nor a folder.", "Links are not followed.")
    if path.is_file():
        yield path
        return
    for found in sorted(path.rglob("*"), key=lambda each: each.relative_to(path).as_posix()):
        if found.is_symlink() or not (found.is_file() or found.is_dir()):
            raise BadInput(f"{found} is neither a file nor a folder.", "Links are not followed.")
        if found.is_file():
            yield found


def _rename(path: Path, target: Path) -> None:
    """Rename; the same content put by somebody else meanwhile is as good as ours."""
    try:
        path.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _make_durable(path: Path) -> None:
    folders = {path} if path.is_dir() else set()
    for file in _files(path):
        file.chmod(0o444)
        _sync(file)
        folders.add(file.parent)
    for folder in folders:
        _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
