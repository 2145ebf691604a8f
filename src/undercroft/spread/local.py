"""Worker processes on this machine, each with a limit of time and memory."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
from collections.abc import Sequence
from typing import Any, Generic, Self

from undercroft.errors import MissingExtra
from undercroft.settings import ClusterSettings
from undercroft.spread.work import Died, Item, Landing, Result, Work


class Processes:
    """A pool of processes; one that dies or outstays its time is replaced.

    They are started afresh rather than forked, since this process has threads.
    """

    def __init__(self, cluster: ClusterSettings) -> None:
        try:
            from pebble import ProcessPool
        except ImportError:
            raise MissingExtra("pebble", "data") from None
        self._timeout_s = cluster.task_seconds
        count = cluster.processes or os.cpu_count() or 1
        self.ahead = 2 * count
        self._pool: Any = ProcessPool(
            max_workers=count,
            initializer=_limit_memory,
            initargs=(cluster.task_memory_mb * 1_000_000,),
            context=multiprocessing.get_context("spawn"),
        )

    def submit(self, work: Work[Item, Result], batch: Sequence[Item]) -> Landing[Result]:
        future = self._pool.schedule(work, args=(batch,), timeout=self._timeout_s)
        return _Pending(future, self._timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._pool.close()
        else:
            self._pool.stop()
        self._pool.join()


class _Pending(Generic[Result]):
    def __init__(self, future: Any, timeout_s: float) -> None:
        self._future = future
        self._timeout_s = timeout_s

    def result(self) -> Result:
        from pebble import ProcessExpired

        try:
            found: Result = self._future.result()
        except TimeoutError:
            raise Died(f"timeout: it takes more than {self._timeout_s:g} s") from None
        except ProcessExpired as expired:
            raise Died(f"killed: its worker died with exit code {expired.exitcode}") from None
        return found


def _limit_memory(size_bytes: int) -> None:
    """Ends requests for memory that pass ``size_bytes`` beyond what the interpreter holds now."""
    if sys.platform == "linux":  # elsewhere the limit is not on what is really written to
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (size_bytes, most))
