"""The files that one version of a Lance table is read from, and their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import lance

_NEWEST_FIRST = 2**64 - 1  # manifests are named so that the newest sorts first


def of(dataset: lance.LanceDataset) -> Iterator[str]:
    """Paths, relative to the table, of the manifest, data and deletion files of ``dataset``."""
    yield f"_versions/{_NEWEST_FIRST - int(dataset.version)}.manifest"
    for fragment in dataset.get_fragments():
        for file in fragment.data_files():
            yield f"data/{file.path}"
        if deletions := fragment.deletion_file():
            yield str(deletions)


def digest(path: Path) -> str:
    """SHA-256 of the file at ``path``, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
