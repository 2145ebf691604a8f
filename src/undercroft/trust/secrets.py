"""Secrets that the project needs itself, such as keys of services elsewhere: sealed in one file.

They are sealed under the project's own key, so the file says nothing without the keyring.
"""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from undercroft.errors import BadInput, NotFound, Tampered
from undercroft.trust.audit import AuditLog, append
from undercroft.trust.transactions import writing
from undercroft.trust.vault import Vault

FILE: Final = "secrets.json"
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}\Z")
_OWN: Final = ""  # the vault's subject for the project itself


class Secrets:
    """The secrets in ``file``, by name; setting and removing one is entered in ``audit``, which is
    in the database of ``engine``."""

    def __init__(self, engine: Engine, vault: Vault, file: Path, audit: AuditLog) -> None:
        self._engine = engine
        self._vault = vault
        self._file = file
        self._audit = audit

    def names(self) -> list[str]:
        return sorted(self._read())

    def get(self, name: str) -> str | None:
        """The secret called ``name``, or None. Raises `Tampered` when it does not open."""
        sealed = self._read().get(name)
        if sealed is None:
            return None
        return self._vault.open(_OWN, base64.b64decode(sealed), _aad(name)).decode()

    def set(self, name: str, value: str, actor: str = "local") -> None:
        """Keep ``value``, in place of what was kept under ``name``. Raises `BadInput`."""
        if not _NAME.match(name):
            raise BadInput(
                f"{name!r} cannot name a secret.", do="Use letters, digits, '_', '.' and '-'."
            )
        if not value.strip():
            raise BadInput("The secret is empty.", do="Type or pipe its value.")
        sealed = self._vault.seal(_OWN, value.strip().encode(), _aad(name))
        self._write({**self._read(), name: base64.b64encode(sealed).decode()})
        self._note(actor, "secret.set", name)

    def remove(self, name: str, actor: str = "local") -> None:
        """Raises `NotFound`."""
        kept = self._read()
        if name not in kept:
            raise NotFound(f"There is no secret {name!r}.", name, kept, "See: undercroft secret ls")
        del kept[name]
        self._write(kept)
        self._note(actor, "secret.removed", name)

    def _note(self, actor: str, action: str, name: str) -> None:
        with writing(self._engine) as connection:
            append(connection, actor, action, f"secret:{name}")
        self._audit.seal()

    def _read(self) -> dict[str, str]:
        try:
            found: dict[str, str] = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            raise Tampered(
                f"{self._file} cannot be read.",
                "It is not what was written.",
                "Restore it, or remove it and set the secrets anew.",
            ) from None
        return found

    def _write(self, kept: dict[str, str]) -> None:
        half = self._file.with_suffix(f".{os.getpid()}.tmp")
        with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            json.dump(kept, out, indent=1)
            out.flush()
            os.fsync(out.fileno())
        half.replace(self._file)


def _aad(name: str) -> bytes:
    return f"secret\n{name}".encode()
