"""Numbers as people read them: sizes, durations, ages, energy, shares."""

from __future__ import annotations

from datetime import UTC, datetime

_SIZES = ("B", "kB", "MB", "GB", "TB")


def count(value: float) -> str:
    """``12345`` -> ``12 345`` with a thin, unbreakable space."""
    return f"{value:,.0f}".replace(",", "\u202f")


def size(num_bytes: float) -> str:
    """Decimal units, two or three significant digits."""
    value = float(num_bytes)
    for unit in _SIZES:
        if abs(value) < 1000 or unit == _SIZES[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    raise AssertionError


def seconds(value: float | None) -> str:
    """From milliseconds to hours, in the two largest units."""
    if value is None:
        return "–"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def milliseconds(value: float | None) -> str:
    """A duration given in milliseconds."""
    return "–" if value is None else seconds(value / 1000)


def energy(watt_hours: float) -> str:
    """Watt-hours, or milliwatt-hours below 0.1."""
    if watt_hours == 0:
        return "0 Wh"
    return f"{watt_hours * 1000:.2g} mWh" if watt_hours < 0.1 else f"{watt_hours:.3g} Wh"


def money(value: float) -> str:
    """An amount in the operator's currency, with enough digits that it is not zero."""
    if value == 0:
        return "0"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def share(value: float) -> str:
    """A ratio as a percentage."""
    return f"{value * 100:.1f} %" if value < 0.995 else f"{value * 100:.0f} %"


def ratio(value: float) -> str:
    """A score with three decimals."""
    return f"{value:.3f}"


def aware(moment: datetime) -> datetime:
    """``moment`` with a time zone; naive ones are UTC, as everything stored is."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def ago(moment: datetime, now: datetime | None = None) -> str:
    """How long ago, in the largest unit."""
    passed = ((now or datetime.now(UTC)) - aware(moment)).total_seconds()
    if passed < 10:
        return "just now"
    for limit, unit, name in ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h")):
        if passed < limit:
            return f"{passed // unit:.0f} {name} ago"
    days = passed // 86400
    return "yesterday" if days == 1 else f"{days:.0f} days ago"


def clock(moment: datetime) -> str:
    """A moment in full, in the machine's own time zone."""
    return aware(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def plural(number: int, noun: str, nouns: str = "") -> str:
    """``1 run``, ``2 runs``."""
    return f"{count(number)} {noun if number == 1 else nouns or noun + 's'}"
