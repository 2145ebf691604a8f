"""What each role may do: one small table."""

from __future__ import annotations

from typing import Final, Literal

from undercroft.records import Principal

Action = Literal["chat", "embed", "feedback", "read", "operate", "admin"]

ACTIONS: Final[tuple[Action, ...]] = ("chat", "embed", "feedback", "read", "operate", "admin")

_MAY: Final[dict[str, frozenset[str]]] = {
    "admin": frozenset(ACTIONS),
    "operator": frozenset(ACTIONS) - {"admin"},
    "console": frozenset({"chat", "embed", "feedback", "read"}),
    "user": frozenset({"chat", "embed", "feedback"}),
}

ROLES: Final[tuple[str, ...]] = tuple(_MAY)


def allowed(principal: Principal, action: str) -> bool:
    """Whether ``principal`` may do ``action``; an unknown role or action may not."""
    return action in _MAY.get(principal.role, frozenset())
