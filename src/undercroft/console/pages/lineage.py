"""The graph around one artifact or answer."""

from __future__ import annotations

from collections import Counter

from undercroft.console import figures
from undercroft.console.components.frame import head
from undercroft.console.components.tables import choices
from undercroft.console.markup import Markup, h
from undercroft.console.router import Address, Page
from undercroft.console.views import lineage

_NOUNS = ("run", "document", "answer", "source")
_WORDS = {"both": "All", "up": "What it was made from", "down": "What was made of it"}


def render(data: tuple[lineage.LineagePage, Address]) -> list[Markup]:
    """The sections of the page."""
    page, at = data
    counts = Counter(
        node.kind if node.kind in _NOUNS else "artifact" for node in page.lineage.nodes
    )
    lead = ", ".join(figures.plural(number, noun) for noun, number in counts.items()) + "."
    ways = [
        (_WORDS[way], at.with_query(way=None if way == "both" else way), page.direction == way)
        for way in lineage.DIRECTIONS
    ]
    drawing = h("div", Markup(page.svg), class_="lineage")
    return [
        head(page.ref, lead, (("/lineage", "Lineage"),), _beside(page.ref)),
        choices(ways),
        h("div", drawing, class_="card flush"),
    ]


def _beside(ref: str) -> Markup:
    kind, _, name = ref.partition(":")
    pages = {"answer": f"/answers/{name}", "document": f"/documents/{name}"}
    return h("a", "Facts", href=pages.get(kind, f"/artifacts/{ref}"), class_="button")


PAGE = Page(
    pattern="/lineage/{ref}",
    title=lambda data: f"Lineage of {data[0].ref}",
    load=lambda project, at: (
        lineage.around(project, at.values["ref"], at.query.get("way", "both")),
        at,
    ),
    render=render,
)
