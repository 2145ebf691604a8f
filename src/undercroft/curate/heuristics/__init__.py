"""The heuristics that published corpora were filtered with, as numbers for each text.

`measures_of` reads texts once, compiled, on every core; `policies` holds the thresholds of Gopher,
C4 and FineWeb. Read `measures` for what is counted and `words` for what counts as a word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

#: Texts of one task: enough to hide what a task costs, few enough that all cores end together.
_TASK_BYTES = 2_000_000


def measures_of(texts: pa.LargeStringArray, threads: int = 0) -> NDArray[np.float64]:
    """One row of `measures.COLUMNS` for each text, float64 [n, columns].

    ``threads`` 0 takes every core this process may use. The first call on a machine compiles for
    about 15 s.
    """
    from undercroft.curate.compiled import Span, drop_stale, on_every_core
    from undercroft.curate.signals import batches, buffers

    drop_stale(__file__)
    from undercroft.curate.heuristics import characters, exceptions, measures

    data, offsets = buffers(texts)
    out = np.zeros((len(texts), len(measures.COLUMNS)))
    flags, table = characters.flags(), exceptions.table()

    def work(span: Span) -> None:
        first, last = span
        measures.measure(data, offsets[first : last + 1], flags, table, out[first:last])

    on_every_core(work, batches(offsets, _TASK_BYTES), threads)
    return out
