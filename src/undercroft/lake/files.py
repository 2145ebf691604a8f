"""The files that one version of a Lance table is read from."""

from __future__ import annotations

from collections.abc import Iterator

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
