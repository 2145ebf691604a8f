"""A process that has imported all that training takes, and forks ranks.

Importing torch and transformers takes many seconds; a fork takes milliseconds, and shares
the memory of what was imported. It has no threads, so that forking is safe. Commands come as
pickles on its standard input, replies go to its standard output; when its input ends, or whoever
started it does, it kills its ranks and ends.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import struct
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

from undercroft.train.launch.job import Job
from undercroft.train.launch.rank import Seat, train_as

_LENGTH = struct.Struct("<Q")
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Nursery:
    """Carries out commands; each is a method and its arguments. Ranks do not keep ``pipes``."""

    def __init__(self, pipes: Sequence[int]) -> None:
        self._pipes = pipes
        self._job: Job | None = None
        self._children: dict[int, int] = {}  # pid -> rank
        self._ended: dict[int, int] = {}

    def take(self, job: bytes) -> None:
        """The job of the ranks to come; what it imports is imported here."""
        self._job = pickle.loads(job)  # noqa: S301 - from the process that started us
        for name in self._job.imports:
            import_module(name)

    def start(self, seats: Sequence[Seat]) -> dict[int, int]:
        """Fork a rank for each of ``seats``; their pids by rank."""
        assert self._job is not None
        self.kill()
        for seat in seats:
            child = os.fork()
            if not child:
                _become(self._job, seat, self._pipes)
            self._children[child] = seat.rank
        return {rank: pid for pid, rank in self._children.items()}

    def ended(self) -> dict[int, int]:
        """Exit codes by rank of those that ended since the start; negative ones are signals."""
        for pid in list(self._children):
            self._reap(pid, os.WNOHANG)
        return self._ended

    def speak(self) -> None:
        """Have every rank say where in the program it is (`rank.train_as`)."""
        for pid in self._children:
            os.kill(pid, signal.SIGUSR1)

    def kill(self) -> None:
        """Kill the ranks that are left, even those that are stopped."""
        for pid in self._children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in list(self._children):
            self._reap(pid, 0)
        self._ended = {}

    def _reap(self, pid: int, how: int) -> None:
        found, status = os.waitpid(pid, how)
        if found:
            self._ended[self._children.pop(pid)] = os.waitstatus_to_exitcode(status)


def main() -> None:
    """Serve commands until there are no more."""
    parent = os.getppid()
    end_with(parent)
    commands, replies = os.dup(0), os.dup(1)
    os.set_inheritable(commands, False)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    _import_all()
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # to look for devices, not use them
    nursery = Nursery((commands, replies))
    send(replies, (None, None))
    while (command := receive(commands)) is not None:
        name, *arguments = command
        reply: tuple[Any, Exception | None]
        try:
            reply = (getattr(nursery, name)(*arguments), None)
        except Exception as error:
            reply = (None, error)
        send(replies, reply)
    nursery.kill()
    os._exit(0)


def send(file: int, what: Any) -> None:
    """Write a pickle to a pipe."""
    message = pickle.dumps(what)
    left = memoryview(_LENGTH.pack(len(message)) + message)
    while left:
        left = left[os.write(file, left) :]


def receive(file: int) -> Any:
    """What was sent; None when the other side is gone."""
    head = _read(file, _LENGTH.size)
    if head is None:
        return None
    message = _read(file, _LENGTH.unpack(head)[0])
    return None if message is None else pickle.loads(message)  # noqa: S301 - see `Nursery.take`


def _read(file: int, size: int) -> bytes | None:
    parts: list[bytes] = []
    while size:
        part = os.read(file, min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def end_with(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends (Linux).

    A signal reaches a process that is stopped too, which reading the end of a pipe would not.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def _import_all() -> None:
    """Modules that ranks would import themselves, some of them only when they are first used."""
    import torch
    import torch.distributed

    from undercroft.train import loop  # noqa: F401
    from undercroft.train.optimizer import MasterAdamW

    torch.set_num_threads(1)
    MasterAdamW(torch.nn.Linear(1, 1), 0.0)


def _become(job: Job, seat: Seat, pipes: Sequence[int]) -> NoReturn:
    """In a forked process: be a rank that knows nothing of the nursery's pipes."""
    try:
        end_with(os.getppid())
        for pipe in pipes:
            os.close(pipe)
        log = os.open(seat.log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        train_as(job, seat)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
