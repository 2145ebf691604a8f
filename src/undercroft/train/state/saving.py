"""Checkpoints written by a thread, while training goes on.

The thread first copies the tensors, which only an optimizer step changes: training goes on at once
and waits, before its next step, for what is left of the copying. All else it does beside training.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from undercroft.train.state.checkpoint import FAILURES, Checkpoint

_NICER = 10  # training comes first


class Writer:
    """Writes one checkpoint at a time with ``write``, in the order in which they were begun.

    Not for use by several threads. The memory of the copies is kept, so that it is new only once.
    ``waited_s`` are the seconds that training stood still for copies.
    """

    def __init__(self, write: Callable[[Checkpoint], None]) -> None:
        self._write = write
        self._copies: dict[str, Tensor] = {}
        self._copied = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed: list[tuple[int, BaseException]] = []
        self.waited_s = 0.0

    @property
    def is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def begin(self, checkpoint: Checkpoint) -> None:
        """Begin to write ``checkpoint``, once the one before is written.

        Nothing may change its tensors before `wait_for_copy` returned.
        """
        self.finish()
        self._copied.clear()
        self._thread = threading.Thread(
            target=self._run, args=(checkpoint,), name="checkpoint", daemon=False
        )
        self._thread.start()

    def wait_for_copy(self) -> None:
        """Return when the tensors of what was begun last may be changed."""
        started = time.monotonic()
        if self._thread is not None:
            self._copied.wait()
        self.waited_s += time.monotonic() - started

    def finish(self) -> None:
        """Return when nothing is left to write."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def failures(self) -> list[tuple[int, str]]:
        """The step and the reason of each checkpoint that could not be written; told once.

        Raises what is no failure of the disk.
        """
        failed, self._failed = self._failed, []
        for _, error in failed:
            if not isinstance(error, FAILURES):
                raise error
        return [(step, str(error)) for step, error in failed]

    def _run(self, checkpoint: Checkpoint) -> None:
        try:
            try:
                tensors = self._copy(checkpoint.tensors)
            finally:
                self._copied.set()
            if sys.platform == "linux":  # where a thread has a priority of its own
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICER)
            self._write(replace(checkpoint, tensors=tensors))
        except BaseException as error:
            self._failed.append((checkpoint.step, error))

    def _copy(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """By NumPy, on this thread alone: torch would take the cores that training computes on.

        What lies on a device is copied into memory that it reaches directly, after what was asked
        of it before and before what is asked of it later.
        """
        old, self._copies = self._copies, {}
        for name, tensor in tensors.items():
            mine = old.get(name)
            if mine is None or mine.shape != tensor.shape or mine.dtype != tensor.dtype:
                mine = torch.empty(
                    tensor.shape, dtype=tensor.dtype, pin_memory=tensor.device.type == "cuda"
                )
            if tensor.device.type == "cpu":
                np.copyto(_bytes(mine), _bytes(tensor.contiguous()))
            else:
                mine.copy_(tensor)
            self._copies[name] = mine
        return self._copies


def _bytes(tensor: Tensor) -> NDArray[np.uint8]:
    """The memory of a contiguous tensor of any type."""
    flat: NDArray[np.uint8] = tensor.detach().reshape(-1).view(torch.uint8).numpy()
    return flat
