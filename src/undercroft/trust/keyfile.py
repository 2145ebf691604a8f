"""A file that holds one 256-bit key, readable by its owner alone."""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from undercroft.errors import Denied, Tampered
from undercroft.trust.transactions import now

KEY_BYTES = 32


def read(path: Path) -> bytes | None:
    """The key in ``path``, or None where there is no such file.

    Raises `Denied` when others than its owner may read it and `Tampered` when it holds no key.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read()
    except FileNotFoundError:
        return None
    if mode & 0o077:
        raise Denied(
            f"The key file {path} is open to other users (mode {mode:o}).",
            "Whoever has read it can read everything it protects.",
            f"Close it with: chmod 600 {path}",
        )
    try:
        key = base64.b64decode(json.loads(text)["key"], validate=True)
    except (ValueError, KeyError, TypeError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise Tampered(
            f"The key file {path} holds no key.", "It was changed or cut.", "Restore its backup."
        )
    return key


def read_or_create(path: Path, purpose: str) -> bytes:
    """The key in ``path``; made there first if need be, by one of several that ask at once."""
    key = read(path)
    if key is not None:
        return key
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    content = {
        "purpose": purpose,
        "key": base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode(),
        "created_at": now().isoformat(),
    }
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    write_durably(draft, json.dumps(content, indent=1).encode())
    try:
        # A hard link appears whole or not at all, and fails where the file is already there.
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    sync_folder(path.parent)
    key = read(path)
    assert key is not None
    return key


def write_durably(path: Path, content: bytes) -> None:
    """Write a new file with mode 0600 and have it on disk before returning."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the names in ``folder`` on disk: a rename survives a power cut only after this."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
