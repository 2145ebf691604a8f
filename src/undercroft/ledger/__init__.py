"""Who made what, from what, when: the database behind every ref.

In come runs with their pinned inputs and what they made; out come artifacts by ref, memoised
results, progress, decisions and the lineage graph. Read `ledger` first (the whole interface), then
`runs`, whose `finish` is the one transaction everything rests on; `tables` is the schema.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from undercroft.ledger.artifacts import MadeArtifact
    from undercroft.ledger.ledger import Ledger

__all__ = ["Ledger", "MadeArtifact"]

_HOME = {"Ledger": "ledger", "MadeArtifact": "artifacts"}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: SQLAlchemy alone takes longer than a command may."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
