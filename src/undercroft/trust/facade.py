"""Everything of this package for one project, opened together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from undercroft.trust.audit import ANCHOR, AuditLog
from undercroft.trust.keys import Keys
from undercroft.trust.secrets import FILE, Secrets
from undercroft.trust.vault import Vault

KEYRING: Final = "keyring.json"


@dataclass(frozen=True, slots=True)
class Trust:
    """The audit log, the vault, the API keys and the secrets of one project."""

    audit: AuditLog
    vault: Vault
    keys: Keys
    secrets: Secrets

    @classmethod
    def open(cls, engine: Engine, folder: Path) -> Trust:
        """Open them on the ledger's ``engine``; key files and the audit's head are in ``folder``.

        Raises `Denied` when a key file is open to others and `NotFound` when the keyring is gone
        while data sealed by it remains.
        """
        audit = AuditLog(engine, folder / ANCHOR)
        vault = Vault(engine, folder / KEYRING, audit)
        secrets = Secrets(engine, vault, folder / FILE, audit)
        return cls(audit, vault, Keys(engine, audit), secrets)
