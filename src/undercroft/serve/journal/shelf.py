"""Responses that are kept: one file each, sealed for the person it was written for.

Whoever is forgotten takes the key along, and the file stays ciphertext for good. Only the API key
that asked may read a response.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from undercroft.errors import NotFound, StorageFull, Tampered
from undercroft.serve.wire.bodies import Message
from undercroft.trust import Vault

_ID = re.compile(r"resp_[0-9a-f]{32}\Z")


class Kept(msgspec.Struct):
    """A response and the conversation it belongs to: all that was said before it, and by it.
    ``events`` are those in which it came about, where it was written in the background as a stream
    that may be taken up again."""

    response: dict[str, Any]
    input: list[Any]
    messages: list[Message]
    events: list[bytes] = []


class _File(msgspec.Struct):
    subject: str
    key: str
    sealed: bytes


class Shelf:
    """The responses in ``folder``, each kept for ``days``."""

    def __init__(self, folder: Path, vault: Vault, days: float) -> None:
        self._folder = folder
        self._vault = vault
        self._longest_s = days * 86_400

    def put(self, subject: str, key: str, kept: Kept) -> None:
        """Keep it, or what became of it. Raises `StorageFull` when the disk is."""
        response_id = kept.response["id"]
        sealed = self._vault.seal(subject, msgspec.json.encode(kept), response_id.encode())
        path = self._folder / response_id
        draft = path.with_suffix(".new")
        try:
            self._folder.mkdir(exist_ok=True, mode=0o700)
            draft.write_bytes(msgspec.json.encode(_File(subject, key, sealed)))
            draft.replace(path)
        except OSError as error:
            raise StorageFull(
                "The response cannot be kept.", f"{error.strerror}.",
                "Ask for it without background and with store false, or try again later.",
            ) from error  # fmt: skip

    def get(self, response_id: str, key: str) -> Kept:
        """Raises `NotFound`: also where it is somebody else's, too old, or its person forgotten."""
        path = self._path(response_id)
        try:
            file = msgspec.json.decode(path.read_bytes(), type=_File)
            if file.key != key or path.stat().st_mtime + self._longest_s < time.time():
                raise _no(response_id)
            whole = self._vault.open(file.subject, file.sealed, response_id.encode())
        except (FileNotFoundError, msgspec.DecodeError, NotFound, Tampered):
            raise _no(response_id) from None
        return msgspec.json.decode(whole, type=Kept)

    def delete(self, response_id: str, key: str) -> None:
        """Raises what `get` raises."""
        self.get(response_id, key)
        self._path(response_id).unlink(missing_ok=True)

    def prune(self) -> None:
        """Remove what is too old."""
        if not self._folder.is_dir():
            return
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime + self._longest_s < time.time():
                    path.unlink()

    def _path(self, response_id: str) -> Path:
        if not _ID.match(response_id):
            raise _no(response_id)
        return self._folder / response_id


def _no(response_id: str) -> NotFound:
    return NotFound(
        f"There is no response {response_id[:60]!r}.",
        do="It may have been deleted, or grown too old.",
    )
