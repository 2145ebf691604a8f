"""The signed head of the audit chain, in a file outside the database."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from undercroft.trust import keyfile
from undercroft.trust.transactions import now


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a chain: its sequence number and hash (hexadecimal)."""

    seq: int
    hash: str


GENESIS: Final = Head(0, "0" * 64)


class Anchor:
    """The head in ``path``, signed (Ed25519) with the key in the file ``<path>.key``.

    An anchor that is missing although its key is there means that somebody removed it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._key_path = path.with_name(path.name + ".key")
        self._key: Ed25519PrivateKey | None = None

    def open(self, log_is_empty: Callable[[], bool]) -> bool:
        """Load the signing key; begin at the genesis, and return True, where there is no anchor.

        An anchor that is gone while its key and entries of the log remain is not begun anew.
        """
        if not self.path.exists():
            with self.locked():
                if not self.path.exists() and (not self._key_path.exists() or log_is_empty()):
                    self._load(keyfile.read_or_create(self._key_path, "signs the audit log's head"))
                    self.write(GENESIS)
                    return True
        self._load(keyfile.read(self._key_path))
        return False

    def _load(self, seed: bytes | None) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed) if seed else None

    @property
    def public_key(self) -> str:
        """The Ed25519 public key (hexadecimal) that verifies the head; publish it elsewhere."""
        return self._key.public_key().public_bytes_raw().hex() if self._key else ""

    def read(self) -> Head | None:
        """The signed head, or None when the file is missing, edited, or its key is gone."""
        if self._key is None:
            return None
        try:
            content = json.loads(self.path.read_bytes())
            head = Head(int(content["seq"]), str(content["hash"]))
            message = _message(head, str(content["at"]))
            self._key.public_key().verify(bytes.fromhex(content["signature"]), message)
        except (OSError, ValueError, KeyError, TypeError, InvalidSignature):
            return None
        return head

    def write(self, head: Head) -> None:
        """Replace the head, atomically and durably. Hold `locked` while reading and writing."""
        assert self._key is not None
        at = now().isoformat()
        content = {
            "seq": head.seq,
            "hash": head.hash,
            "at": at,
            "public_key": self.public_key,
            "signature": self._key.sign(_message(head, at)).hex(),
        }
        draft = self.path.with_name(f".{self.path.name}.{secrets.token_hex(6)}")
        try:
            keyfile.write_durably(draft, json.dumps(content, indent=1).encode())
            draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)
        keyfile.sync_folder(self.path.parent)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the file lock that keeps two processes from moving the head at once."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = self.path.with_name(f".{self.path.name}.lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _message(head: Head, at: str) -> bytes:
    return f"undercroft audit head\n{head.seq}\n{head.hash}\n{at}".encode()
