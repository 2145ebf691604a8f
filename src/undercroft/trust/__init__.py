"""Who may do what, what was done, and the keys that make data readable or not.

In comes the ledger's database engine and a folder for key files; out come an append-only `AuditLog`
whose tampering shows, a `Vault` that seals bytes under one key per person (and forgets a person by
destroying that key), and API `Keys` with roles. Read `audit` first, then `vault`; `tables` is the
schema, which the ledger's migrations create. Every other package may use this one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from undercroft.trust.audit import AuditEntry, AuditLog, AuditReport
    from undercroft.trust.facade import Trust
    from undercroft.trust.keys import Keys
    from undercroft.trust.roles import ACTIONS, ROLES, allowed
    from undercroft.trust.vault import Vault

__all__ = [
    "ACTIONS",
    "ROLES",
    "AuditEntry",
    "AuditLog",
    "AuditReport",
    "Keys",
    "Trust",
    "Vault",
    "allowed",
]

_HOME = {
    "ACTIONS": "roles",
    "ROLES": "roles",
    "AuditEntry": "audit",
    "AuditLog": "audit",
    "AuditReport": "audit",
    "Keys": "keys",
    "Trust": "facade",
    "Vault": "vault",
    "allowed": "roles",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: SQLAlchemy alone takes longer than a command may."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
