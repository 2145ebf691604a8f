"""What a running ``undercroft watch`` knows of the sources, for the project's other commands.

The one that watches listens on this machine, under a key that it leaves in the project's folder;
others ask it for the fingerprints of sources, which costs it what changed, and them nothing. Where
nobody answers, they look themselves.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from undercroft.settings import CollectSettings

Prints = Mapping[str, str]
_FILE: Final = "watching.json"
_PATIENCE_S: Final = 10.0


def prints(state: Path, params: CollectSettings) -> Prints:
    """The fingerprints of sources by name, as far as somebody watches them; ``state`` is the
    folder of what the project owns."""
    if not (state / _FILE).exists():
        return {}
    from multiprocessing import AuthenticationError
    from multiprocessing.connection import Client

    try:
        found = json.loads((state / _FILE).read_text(encoding="utf-8"))
        if found["pid"] == os.getpid():
            return {}
        key = bytes.fromhex(found["key"])
        with Client(("127.0.0.1", found["port"]), authkey=key) as connection:
            connection.send_bytes(_wanted(params))
            if connection.poll(_PATIENCE_S):
                told: dict[str, str] = json.loads(connection.recv_bytes())
                return told
    except (OSError, EOFError, ValueError, KeyError, AuthenticationError):
        pass  # it has just ended, or died and left its file
    return {}


@contextlib.contextmanager
def answering(state: Path, params: CollectSettings, answer: Callable[[], Prints]) -> Iterator[None]:
    """Answer other processes with ``answer`` meanwhile, those that want the same ``params``."""
    from multiprocessing.connection import Listener

    key = secrets.token_bytes(32)
    file = state / _FILE
    with Listener(("127.0.0.1", 0), authkey=key) as listener:
        said = {"pid": os.getpid(), "port": listener.address[1], "key": key.hex()}
        threading.Thread(
            target=_answer, args=(listener, _wanted(params), answer), name="told", daemon=True
        ).start()
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            json.dump(said, out)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def _answer(listener: Any, wanted: bytes, answer: Callable[[], Prints]) -> None:
    from multiprocessing import AuthenticationError

    while True:
        try:
            with listener.accept() as connection:
                is_same = connection.recv_bytes(1 << 20) == wanted
                connection.send_bytes(json.dumps(answer() if is_same else {}).encode())
        except (AuthenticationError, EOFError, ConnectionError):
            continue  # one that asked amiss, or did not wait
        except OSError:
            return  # closed


def _wanted(params: CollectSettings) -> bytes:
    return json.dumps(params.model_dump(mode="json"), sort_keys=True).encode()
