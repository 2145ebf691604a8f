"""Everything of this package for one project, opened together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from undercroft.trust.audit import ANCHOR, AuditLog
from undercroft.trust.keys import Keys
from undercroft.trust.vault import Vault

KEYRING: Final = "keyring.json"


@dataclass(frozen=True, slots=True)
class Trust:
    """The audit log, the vault and the API keys of one project."""

    audit: AuditLog
    vault: Vault
    keys: Keys

    @classmethod
    def open(cls, engine: Engine, folder: Path) -> Trust:
        """Open them on the ledger's ``engine``; key files and the audit's head are in ``folder``.

        Raises `Denied` when a key file is open to others and `NotFound` when the keyring is gone
        while data sealed by it remains.
        """
        audit = AuditLog(engine, folder / ANCHOR)
        return cls(audit, Vault(engine, folder / KEYRING, audit), Keys(engine, audit))
