"""Making values fit to be stored, alike in both databases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePath
from typing import Any

from undercroft.errors import BadInput


def plain_json(value: Any) -> Any:  # noqa: PLR0911 - one per type
    """``value`` in what JSON can say.

    Numbers that are not finite become null, as neither Postgres nor a browser knows NaN; paths and
    times become text, NumPy scalars plain numbers. Raises `BadInput` for anything else.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_json(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        return plain_json(value.item())
    raise BadInput(
        f"A {type(value).__name__} cannot be kept in the ledger.",
        "Parameters, meta and evidence are kept as JSON.",
        "Turn it into numbers, text, lists and mappings first.",
    )


def plain_text(value: str) -> str:
    """``value`` as text both databases can store: no NUL, no half of a surrogate pair."""
    return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
