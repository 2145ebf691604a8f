"""Machines that ranks are started on, and this one."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from undercroft.jobs import WORKER_ENVIRONMENT
from undercroft.train.launch.nursery import receive, send
from undercroft.train.launch.rank import Seat

_READY_S = 180.0  # to import everything, on a machine that is busy
_REPLY_S = 30.0


class HostLost(Exception):
    """A machine, or what starts ranks on it, does not answer any more."""


class Host(Protocol):
    """A machine that ranks run on; every method raises `HostLost`.

    ``address`` is where ranks of other machines reach it, ``cores`` how many it gives.
    """

    name: str
    address: str
    cores: int

    def start(self, job: bytes, seats: Sequence[Seat]) -> Mapping[int, int]:
        """Start a rank for each of ``seats``, once those before are gone; their pids by rank."""
        ...

    def ended(self) -> Mapping[int, int]:
        """Exit codes by rank of those that have ended; negative ones are signals."""
        ...

    def speak(self) -> None:
        """Have every rank write to the log where in the program it is."""
        ...

    def kill(self) -> None:
        """Return when no rank is left."""
        ...


class Hosts(Protocol):
    """The machines that there are."""

    def seats(self, most: int) -> list[tuple[Host, int]]:
        """How many ranks to start on which of them: ``most`` in all, or as many as can be had."""
        ...

    def close(self) -> None: ...


class Machine:
    """This machine, by a nursery whose complaints go to ``log``."""

    def __init__(self, log: Path, name: str = "this machine", cores: int | None = None) -> None:
        self.name = name
        self.address = ""
        self.cores = cores or available_cores()
        self._log = log
        self._job: bytes | None = None
        self._nursery: subprocess.Popen[bytes] | None = None

    def start(self, job: bytes, seats: Sequence[Seat]) -> Mapping[int, int]:
        if self._nursery is None or self._nursery.poll() is not None:
            self._begin()
        if job != self._job:
            self._ask("take", job, timeout_s=_READY_S)
            self._job = job
        pids: dict[int, int] = self._ask("start", list(seats))
        return pids

    def ended(self) -> Mapping[int, int]:
        found: dict[int, int] = self._ask("ended")
        return found

    def speak(self) -> None:
        self._ask("speak")

    def kill(self) -> None:
        if self._nursery is not None:
            with suppress(HostLost):
                self._ask("kill")

    def close(self) -> None:
        """End the nursery, and with it every rank."""
        if self._nursery is None:
            return
        assert self._nursery.stdin is not None
        self._nursery.stdin.close()
        try:
            self._nursery.wait(5)
        except subprocess.TimeoutExpired:
            self._nursery.kill()
            self._nursery.wait()
        self._nursery = None

    def _begin(self) -> None:
        self._job = None
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._nursery = subprocess.Popen(
                [sys.executable, "-m", "undercroft.train.launch.nursery"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **WORKER_ENVIRONMENT, "TOKENIZERS_PARALLELISM": "false"},
                start_new_session=True,  # Ctrl-C reaches only us
            )
        self._reply(_READY_S)

    def _ask(self, *command: Any, timeout_s: float = _REPLY_S) -> Any:
        if self._nursery is None:
            raise HostLost(f"nothing starts ranks on {self.name} any more")
        assert self._nursery.stdin is not None
        try:
            send(self._nursery.stdin.fileno(), command)
        except OSError:
            raise self._lost("ended") from None
        return self._reply(timeout_s)

    def _reply(self, timeout_s: float) -> Any:
        assert self._nursery is not None
        assert self._nursery.stdout is not None
        file = self._nursery.stdout.fileno()
        if not select.select([file], [], [], timeout_s)[0]:
            raise self._lost("does not answer")
        reply = receive(file)
        if reply is None:
            raise self._lost("ended")
        found, error = reply
        if error is not None:
            raise error
        return found

    def _lost(self, how: str) -> HostLost:
        """The error that says so, once the nursery is gone, and with it its ranks."""
        assert self._nursery is not None
        self._nursery.kill()
        self._nursery.wait()
        self._nursery = None
        return HostLost(f"what starts ranks on {self.name} {how}")


class Here:
    """This machine alone."""

    def __init__(self, log: Path) -> None:
        self._machine = Machine(log)

    def seats(self, most: int) -> list[tuple[Host, int]]:
        return [(self._machine, most)]

    def close(self) -> None:
        self._machine.close()


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
