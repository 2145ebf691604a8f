"""Opening what the gateway sealed, where that may still be done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from undercroft.errors import NotFound

if TYPE_CHECKING:
    from undercroft.trust.vault import Vault


def opened(vault: Vault, row: Mapping[str, Any], what: str) -> str | None:
    """The text of a row's ``<what>_sealed``; None when its subject's key was destroyed.

    Raises `Tampered` when the bytes are not what was sealed.
    """
    sealed = row[f"{what}_sealed"]
    if not sealed:
        return ""
    try:
        text = vault.open(row["subject"], sealed, f"{what}:{row['id']}".encode())
    except NotFound:
        return None
    return text.decode("utf-8", "replace")
