"""Writers share a table; erasing has it alone.

Lance itself needs no lock for appends. Erasure does: it also removes files that no version knows
(left by a crash), which cannot be told from the files of a writer that is about to commit.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(path: Path | None, *, alone: bool) -> Iterator[None]:
    """Hold the advisory lock at ``path`` (None: an object store, which has no locks).

    Waits until it is free; the operating system frees it when a process dies.
    """
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
