"""Markup as values: pages are built from functions that return escaped HTML.

Everything that is not already `Markup` is escaped, so that a document's title or an answer's text
can never become part of the page's code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from markupsafe import Markup, escape

__all__ = ["Child", "Markup", "h", "join"]

Child = str | int | float | Markup | None | Iterable["Child"]

_VOID = frozenset({"br", "hr", "img", "input"})


def h(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """The element ``name``; a trailing ``_`` of an attribute is dropped and others become ``-``.

    ``None`` and ``False`` leave an attribute or a child out; ``True`` writes the bare attribute.
    """
    written = Markup("").join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Markup("<{}{}>").format(name, written)
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, join(*children))


def join(*children: Child) -> Markup:
    """The children one after the other, each escaped unless it is markup."""
    return Markup("").join(_flatten(children))


def _attribute(key: str, value: str | int | float | bool | None) -> Markup:
    if value is None or value is False:
        return Markup("")
    name = key.rstrip("_").replace("_", "-")
    return Markup(" {}").format(name) if value is True else Markup(' {}="{}"').format(name, value)


def _flatten(children: Iterable[Child]) -> Iterator[Markup]:
    for child in children:
        if child is None or child is False:
            continue
        if isinstance(child, str | int | float):
            yield escape(child)
        else:
            yield from _flatten(child)
