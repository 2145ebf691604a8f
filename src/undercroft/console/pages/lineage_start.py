"""Where lineage begins: the newest artifact of each kind, in the order of the road."""

from __future__ import annotations

from undercroft.console import figures
from undercroft.console.components.frame import head
from undercroft.console.components.parts import empty, tag, when
from undercroft.console.components.tables import Column, row_link, table
from undercroft.console.markup import Markup
from undercroft.console.router import Page
from undercroft.console.views import lineage
from undercroft.records import Artifact


def render(data: lineage.Start) -> list[Markup]:
    """The sections of the page."""
    lead = "From any answer back to the documents; from any document forward to what came of it."
    if not data.newest:
        return [head("Lineage", lead), empty("Nothing was made yet.", "undercroft up")]
    return [head("Lineage", lead), table(COLUMNS, data.newest, "Newest artifacts")]


COLUMNS: tuple[Column[Artifact], ...] = (
    Column("Newest", lambda made: row_link(f"/lineage/{made.ref}", str(made.ref)), "main"),
    Column("Kind", lambda made: tag(made.kind)),
    Column("Size", lambda made: figures.size(made.size_bytes), "optional number"),
    Column("Made", lambda made: when(made.created_at), "number"),
)

PAGE = Page(
    pattern="/lineage",
    title=lambda _: "Lineage",
    load=lambda project, _: lineage.start(project),
    render=render,
)
