"""The groups that documents fall into: by a column of theirs, or by where they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from undercroft.project import Project
from undercroft.records import Artifact

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

By = Literal["source", "language", "licence", "domain"]
NONE: Final = "(none)"  # the group of documents of which it is not known


def domains(uris: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """The host of web addresses, also within archives; else the first folder or file."""
    import pyarrow.compute as pc

    host = pc.struct_field(pc.extract_regex(uris, r"https?://(?P<host>[^/]+)"), "host")
    folder = pc.struct_field(pc.extract_regex(uris, r"^(?:file://)?/*(?P<part>[^/#!]+)"), "part")
    return pc.coalesce(host, folder)


def groups_of(project: Project, artifact: Artifact, by: By) -> tuple[list[str], NDArray[np.int64]]:
    """The names of all groups, and for each row of the documents table the number of its group.

    The column is read in batches: addresses are long, and never held all at once.
    """
    import numpy as np
    import pyarrow.compute as pc

    table, version = project.lake.table(str(artifact.meta["table"])), int(artifact.meta["version"])
    column = "uri" if by == "domain" else by
    if column not in table.dataset(version).schema.names:
        return [NONE], np.zeros(table.count(version=version), np.int64)
    numbers: dict[str, int] = {}
    found = [np.zeros(0, np.int64)]
    for batch in table.batches([column], version=version):
        values = domains(batch[column]) if by == "domain" else batch[column]
        encoded = pc.fill_null(values, "").dictionary_encode()
        names = [name or NONE for name in encoded.dictionary.to_pylist()]
        own = np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)
        found.append(own[encoded.indices.to_numpy()])
    return list(numbers), np.concatenate(found)
