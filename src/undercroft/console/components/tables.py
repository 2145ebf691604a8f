"""Tables: columns with a rule for each cell, rows that lead somewhere, and pages of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from undercroft.console import figures
from undercroft.console.markup import Child, Markup, h
from undercroft.console.views.lists import Paged

T = TypeVar("T")


@dataclass(frozen=True)
class Column(Generic[T]):
    """``kind``: "" is text, "number" stands right, "main" is the widest, and "optional" or
    "optional number" is not shown on small screens. ``is_plain`` is a title that goes without
    saying: only those hear it who cannot see the table."""

    title: str
    cell: Callable[[T], Child]
    kind: str = ""
    is_plain: bool = False


_CLASSES = {
    "": None,
    "number": "number",
    "main": "main-cell clip",
    "optional": "optional quiet",
    "optional number": "optional number",
}


def table(columns: Sequence[Column[T]], rows: Sequence[T], label: str) -> Markup:
    """A table named ``label`` for those who cannot see it."""
    classes = [_CLASSES[column.kind] for column in columns]
    titles = [
        h("th", _title(column), scope="col", class_=kind)
        for column, kind in zip(columns, classes, strict=True)
    ]
    body = [h("tr", _cells(columns, classes, row)) for row in rows]
    head = h("thead", h("tr", titles))
    return h(
        "div", h("table", head, h("tbody", body), aria_label=label), class_="table-wrap", tabindex=0
    )


def _title(column: Column[T]) -> Child:
    title = column.title
    return h("span", title, class_="visually-hidden") if column.is_plain else title


def _cells(columns: Sequence[Column[T]], classes: Sequence[str | None], row: T) -> list[Markup]:
    return [
        h("td", column.cell(row), class_=kind)
        for column, kind in zip(columns, classes, strict=True)
    ]


def row_link(href: str, text: str) -> Markup:
    """The link of a row: the whole row can be clicked."""
    return h("a", text, href=href, class_="row", title=text)


def pager(paged: Paged[T], url: Callable[[int], str], noun: str) -> Markup:
    """Which rows these are, and the ways to the others."""
    return h(
        "nav",
        h("span", _extent(paged, noun)),
        h(
            "div",
            _step("Previous", url(paged.page - 1), "prev") if paged.page > 1 else None,
            _step("Next", url(paged.page + 1), "next") if paged.follows else None,
        ),
        class_="pager",
        aria_label="Pages",
    )


def _extent(paged: Paged[T], noun: str) -> str:
    if not paged.rows:
        return f"No {noun}s here" if paged.page > 1 else f"No {noun}s"
    if paged.page == 1 and not paged.follows:
        return figures.plural(len(paged.rows), noun)
    rows = f"{figures.count(paged.first)}–{figures.count(paged.last)}"
    if paged.total is None:
        return f"{noun.capitalize()}s {rows}"
    return f"{rows} of {figures.plural(paged.total, noun)}"


def _step(word: str, href: str, rel: str) -> Markup:
    return h("a", word, href=href, class_="button", rel=rel)


def choices(
    options: Sequence[tuple[str, str, bool] | tuple[str, str, bool, int]], label: str = "Filter"
) -> Markup:
    """Ways to narrow a list, as ``(word, address, chosen)`` with a count where one is known.

    A page with several gives each a ``label`` of its own."""
    return h(
        "nav",
        [
            h(
                "a",
                option[0],
                h("span", figures.count(option[3])) if len(option) == 4 else None,
                href=option[1],
                aria_current="true" if option[2] else None,
            )
            for option in options
        ],
        class_="choices",
        aria_label=label,
    )
