"""Filters that no value can break out of: SQL literals and the two comparisons used everywhere."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime

from undercroft.errors import BadInput

Value = str | int | float | bool | datetime | None

_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def quote(value: Value) -> str:
    """``value`` as a literal of the lake's SQL (DataFusion); raises `BadInput` for other types."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    if isinstance(value, datetime):
        moment = value.astimezone(UTC) if value.tzinfo else value
        return f"timestamp '{moment:%Y-%m-%d %H:%M:%S.%f}'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    raise BadInput(
        f"{value!r} cannot be part of a filter.",
        "Filters compare with text, numbers, booleans, times and null.",
        "Convert the value first.",
    )


def equals(column: str, value: Value) -> str:
    """The filter ``column = value``; null-safe."""
    name = _column(column)
    return f"{name} IS NULL" if value is None else f"{name} = {quote(value)}"


def any_of(column: str, values: Iterable[Value]) -> str:
    """The filter ``column IN (values)``; no values at all match no row."""
    literals = ", ".join(quote(value) for value in values if value is not None)
    return f"{_column(column)} IN ({literals})" if literals else "false"


def _column(name: str) -> str:
    if not _COLUMN.match(name):
        raise BadInput(
            f"{name!r} is not a column name.",
            "Column names are letters, digits and underscores.",
            "See the table's schema for its columns.",
        )
    return f"`{name}`"
