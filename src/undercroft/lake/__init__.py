"""Arrow tables and files in; versioned, taggable, erasable tables and content-digested blobs out.

A `Lake` holds named Lance tables (`Table`) and a folder of immutable `Blobs`. Tables keep
themselves compact; a tag pins a version for as long as an artifact needs it; `Table.purge` erases
rows from every version, tagged or not, and from the disk. `read_dataset` gives the kept and
masked documents of a dataset artifact. Read `table.py` first.

Lance starts threads: a process that uses a lake must start children with spawn, not fork.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from undercroft.lake.blobs import Blobs
from undercroft.lake.lake import Lake
from undercroft.lake.where import any_of, equals, quote

if TYPE_CHECKING:
    from undercroft.lake.dataset import read_dataset, read_kept, read_selection, take_kept
    from undercroft.lake.purge import Purged
    from undercroft.lake.rows import with_digests
    from undercroft.lake.table import Table

__all__ = [
    "Blobs",
    "Lake",
    "Purged",
    "Table",
    "any_of",
    "equals",
    "quote",
    "read_dataset",
    "read_kept",
    "read_selection",
    "take_kept",
    "with_digests",
]


def __getattr__(name: str) -> Any:
    """Load what needs Arrow and Lance when it is first asked for: they take 0.4 s to import."""
    from importlib import import_module

    homes = {
        "Table": "table",
        "Purged": "purge",
        "read_dataset": "dataset",
        "read_kept": "dataset",
        "read_selection": "dataset",
        "take_kept": "dataset",
        "with_digests": "rows",
    }
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{homes[name]}"), name)
