"""The lake: a folder, or a prefix of an object store, with one Lance table per name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from undercroft.errors import BadInput
from undercroft.lake.blobs import Blobs

if TYPE_CHECKING:
    from undercroft.lake.table import Table

_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_SUFFIX = ".lance"


class Lake:
    """The tables under ``root`` and the blobs beside them.

    ``root`` is a local folder or an ``s3://``, ``gs://`` or ``az://`` prefix. Blobs are files
    that engines map into memory, so they are always local: in ``blobs``, or in ``root/blobs``.
    """

    def __init__(self, root: str | Path, blobs: Path | None = None) -> None:
        self.root = str(root).rstrip("/")
        self._local = None if "://" in self.root else Path(self.root)
        if blobs is None and self._local is None:
            raise BadInput(
                f"The lake at {self.root} has no folder for blobs.",
                "Models and embeddings are read from the local disk.",
                "Name a local folder for them.",
            )
        self.blobs = Blobs(blobs or Path(self.root) / "blobs")

    def table(self, name: str) -> Table:
        """The table called ``name``; it exists after its first write."""
        from undercroft.lake.table import Table

        if not _NAME.match(name):
            raise BadInput(
                f"{name!r} is not a table name.",
                "Table names are lower-case letters, digits and underscores.",
                "Choose another name.",
            )
        lock = self._local / ".locks" / name if self._local else None
        return Table(f"{self.root}/{name}{_SUFFIX}", name, lock)

    def tables(self) -> list[str]:
        """The names of all tables that exist, sorted."""
        if self._local is not None:
            return sorted(path.stem for path in self._local.glob(f"*{_SUFFIX}"))
        from pyarrow import fs

        files, path = fs.FileSystem.from_uri(self.root)
        found = files.get_file_info(fs.FileSelector(path, allow_not_found=True))
        return sorted(
            info.base_name.removesuffix(_SUFFIX)
            for info in found
            if info.base_name.endswith(_SUFFIX)
        )
