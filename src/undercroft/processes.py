"""Child processes that never outlive their parent.

A child holds the read end of a pipe as its standard input. However the parent ends, even by
``kill -9``, the pipe closes and the child asks itself to stop.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from undercroft.errors import Busy, EngineFailed, UndercroftError

PARENT_PIPE = "UNDERCROFT_PARENT_PIPE"
LOG_LINES_SHOWN = 8
BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class Part:
    """One of the processes that ``undercroft up`` leaves running.

    ``section`` of the settings holds its host and port; it announces its address in the file
    ``announcement`` of the project's state within ``ready_s`` seconds.
    """

    name: str
    module: str
    section: str
    announcement: str
    ready_s: float

    def listen(self, host: str, port: int) -> socket.socket:
        """A listening socket; port 0 takes a free one. Raises `Busy` when the port is not to be
        had."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            raise Busy(
                f"The {self.name} cannot listen on {host}:{port}.",
                f"{error.strerror or error}.",
                f"Choose another port: {self.section}.port in undercroft.toml, or "
                f"--set {self.section}.port=0 for any free one.",
            ) from None
        return listener


GATEWAY = Part("gateway", "undercroft.serve", "serve", "serve.json", 90.0)
CONSOLE = Part("console", "undercroft.console", "console", "console.json", 60.0)


@dataclass
class Child:
    """One running child and the file that its output goes to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(
        cls,
        name: str,
        arguments: Sequence[str],
        log: Path,
        environ: Mapping[str, str] | None = None,
    ) -> Child:
        """Start ``python *arguments`` in a session of its own, so that Ctrl-C reaches only us."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environ or {}), PARENT_PIPE: "1"},
                start_new_session=True,
            )
        return cls(name, process, log)

    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_for(self, announcement: Path, timeout_s: float) -> dict[str, Any]:
        """Wait until the child has announced itself in a JSON file that holds its pid.

        Raises `EngineFailed` with the last lines of its log when it ends or takes too long.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            is_alive = self.alive()  # asked first: it may announce itself and end at once
            announced = read_announcement(announcement)
            if announced is not None and announced.get("pid") == self.process.pid:
                return announced
            if not is_alive:
                raise self.failure(f"The {self.name} process ended while it was starting.")
            time.sleep(0.05)
        raise self.failure(f"The {self.name} process was not ready after {timeout_s:.0f} s.")

    def failure(self, what: str) -> UndercroftError:
        """The error that best says why the child is gone."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        for line in reversed(lines[-LOG_LINES_SHOWN:]):
            if line.startswith("error: "):
                return EngineFailed(what, line.removeprefix("error: "), f"Its log: {self.log}")
        last = lines[-1] if lines else "it said nothing"
        return EngineFailed(what, f"Its last words: {last}.", f"Its log: {self.log}")

    def stop(self, grace_s: float = 10.0) -> None:
        """Ask the child to end, wait ``grace_s``, then kill it."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()
        try:
            self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def end_with_parent(stream: IO[bytes] | None = None) -> None:
    """In a child: turn the end of the parent into SIGTERM for this process. Returns at once."""
    if os.environ.get(PARENT_PIPE) != "1":
        return
    pipe = stream or sys.stdin.buffer

    def watch() -> None:
        while os.read(pipe.fileno(), 4096):  # unbuffered: a lock held here would abort our exit
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def announce(path: Path, **facts: Any) -> None:
    """Write ``facts`` and this process's pid where the parent and other commands look."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps({"pid": os.getpid(), **facts}), encoding="utf-8")
    temporary.replace(path)


def read_announcement(path: Path) -> dict[str, Any] | None:
    """What `announce` wrote, or None when there is none or the announcer is gone."""
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        os.kill(int(facts["pid"]), 0)
    except (OSError, ValueError, KeyError):
        return None
    return facts
