"""Errors, shown plainly: what happened, why, what to do next."""

from __future__ import annotations

import traceback

from undercroft.console.components.frame import head
from undercroft.console.markup import Markup, h, join
from undercroft.errors import UndercroftError


def page(error: UndercroftError) -> Markup:
    """A whole page for an error that left nothing else to show."""
    return join(
        head(error.what, error.why or None, crumbs=(("/", "Home"),)),
        h("p", error.do) if error.do else None,
    )


def unexpected(error: Exception) -> Markup:
    """A whole page for a fault of the console itself, with what a report of it needs."""
    trace = "".join(traceback.format_exception(error))
    return join(
        head(
            "Something broke",
            "This is a fault of the console, not of your project; nothing was changed.",
            crumbs=(("/", "Home"),),
        ),
        h("div", h("b", f"{type(error).__name__}: {error}"), h("pre", trace), class_="problem"),
    )


def notice(what: str, *more: str, detail: str = "") -> Markup:
    """An error beside other content."""
    return h(
        "div",
        h("b", what),
        [h("span", line) for line in more if line],
        h("pre", detail) if detail else None,
        class_="problem",
        role="alert",
    )
