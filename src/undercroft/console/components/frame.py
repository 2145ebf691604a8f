"""What stands around every page: the side with its places, and the head of a page."""

from __future__ import annotations

from collections.abc import Sequence

from undercroft.console.components.icons import arches, icon
from undercroft.console.markup import Child, Markup, h

PLACES = (
    ("/", "Home", "home"),
    ("/chat", "Chat", "chat"),
    ("/answers", "Answers", "answers"),
    ("/documents", "Documents", "documents"),
    ("/models", "Models", "models"),
    ("/rollout", "Rollout", "rollout"),
    ("/runs", "Runs", "runs"),
    ("/lineage", "Lineage", "lineage"),
)
_THEMES = (("", "System"), ("light", "Light"), ("dark", "Dark"))


def side(title: str, version: str) -> Markup:
    """Brand, places and the theme switch."""
    brand = h(
        "a",
        arches(),
        h("span", h("b", "Undercroft"), h("small", title, title=title)),
        href="/",
        class_="brand",
    )
    places = h(
        "nav",
        [h("a", icon(drawing), name, href=path) for path, name, drawing in PLACES],
        class_="nav",
        aria_label="Places",
    )
    switch = h(
        "div",
        [
            h("button", name, type="button", data_set_theme=theme, aria_pressed="false")
            for theme, name in _THEMES
        ],
        class_="theme-switch",
        role="group",
        aria_label="Theme",
    )
    foot = h("div", switch, h("span", f"Version {version}", class_="gateway"), class_="side-foot")
    return h("div", brand, places, foot, class_="side")


def head(
    title: Child,
    lead: Child = None,
    crumbs: tuple[tuple[str, str], ...] = (),
    beside: Child = None,
) -> Markup:
    """The head of a page: where it is, its name, one sentence, and what stands on its right."""
    trail = [h("a", name, href=path) for path, name in crumbs]
    return h(
        "header",
        h("nav", _between(trail, " / "), class_="crumbs", aria_label="Above") if trail else None,
        h("div", h("h1", title), beside, class_="head-row"),
        h("p", lead, class_="lead") if lead else None,
        class_="head",
    )


def section(title: str, *content: Child, more: tuple[str, str] | None = None) -> Markup:
    """A titled part of a page; ``more`` is a link to all of it."""
    link = h("a", more[1], href=more[0]) if more else None
    return h(
        "section",
        h("div", h("h2", title), link, class_="section-head"),
        content,
        class_="section",
    )


def _between(items: Sequence[Markup], separator: str) -> Sequence[Child]:
    return [part for item in items for part in (item, separator)][:-1]
