"""Running compiled loops: on every core, and never in a form that their source no longer has."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

Span = tuple[int, int]  # from one item up to another
Result = TypeVar("Result")

_STAMP = "compiled-from.sha256"


def on_every_core(
    work: Callable[[Span], Result], spans: Iterable[Span], threads: int = 0
) -> list[Result]:
    """The results of ``work`` for each span, in order; the loops in it let go of Python's lock.

    ``threads`` 0 takes every core.
    """
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        return list(pool.map(work, spans))


def drop_stale(package_file: str) -> None:
    """Remove what numba kept of the package with this ``__file__``, unless it is of its present
    source. Call it before the package's functions are imported.

    numba looks at the file of the function it loads, not at the files of the functions which that
    one calls: changed helpers would go on in their old form.
    """
    folder = Path(package_file).parent
    source = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    digest = hashlib.sha256(source).hexdigest()
    kept = folder / "__pycache__"
    stamp = kept / _STAMP
    if stamp.exists() and stamp.read_text() == digest:
        return
    try:
        for path in kept.glob("*.nb[ic]"):
            path.unlink(missing_ok=True)
        kept.mkdir(exist_ok=True)
        stamp.write_text(digest)
    except OSError:
        return  # a folder we may not write to: numba keeps its functions elsewhere
