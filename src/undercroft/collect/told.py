"""What a running ``undercroft watch`` knows of the sources, for the project's other commands.

The one that watches answers on a socket in the project's state folder, which its owner alone may
enter. Others ask it for the fingerprints of sources, which costs it what changed, and them nothing.
Where nobody answers in time, they look themselves.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer
from typing import Final

from undercroft.settings import CollectSettings

Prints = Mapping[str, str]
_SOCKET: Final = "watch.sock"
_PATIENCE_S: Final = 5.0


def prints(state: Path, params: CollectSettings) -> Prints:
    """The fingerprints of sources by name, as far as somebody watches them; ``state`` is the
    folder of what the project owns."""
    if not (state / _SOCKET).exists():
        return {}
    try:
        with _near(state) as path, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_PATIENCE_S)
            connection.connect(path)
            connection.sendall(_wanted(params))
            with connection.makefile("rb") as answer:
                told: dict[str, str] = json.loads(answer.readline())
                return told
    except (OSError, ValueError):
        return {}  # it has ended, or is stopped


@contextlib.contextmanager
def answering(state: Path, params: CollectSettings, answer: Callable[[], Prints]) -> Iterator[None]:
    """Answer other processes with ``answer`` meanwhile, those that want the same ``params``."""
    wanted = _wanted(params)

    class Handler(StreamRequestHandler):
        timeout = _PATIENCE_S

        def handle(self) -> None:
            with contextlib.suppress(OSError):  # whoever asked did not wait
                is_same = self.rfile.readline() == wanted
                self.wfile.write(json.dumps(answer() if is_same else {}).encode() + b"\n")

    (state / _SOCKET).unlink(missing_ok=True)  # of one that was killed
    with _near(state) as path, ThreadingUnixStreamServer(path, Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, name="told", daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
            (state / _SOCKET).unlink(missing_ok=True)


@contextlib.contextmanager
def _near(state: Path) -> Iterator[str]:
    """The socket by a path that is short: of a socket's the system takes 107 bytes at most."""
    folder = os.open(state, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{folder}/{_SOCKET}"
    finally:
        os.close(folder)


def _wanted(params: CollectSettings) -> bytes:
    return json.dumps(params.model_dump(mode="json"), sort_keys=True).encode() + b"\n"
