"""Models: what is served, how it compares with its base, what there is, what was decided."""

from __future__ import annotations

from undercroft.console import figures
from undercroft.console.components.decisions import decision_list
from undercroft.console.components.frame import head, section
from undercroft.console.components.parts import empty, facts, tag, when
from undercroft.console.components.scores import scorecard
from undercroft.console.components.tables import Column, pager, table
from undercroft.console.markup import Child, Markup, h, join
from undercroft.console.router import Address, Page
from undercroft.console.views import models
from undercroft.records import Artifact


def render(loaded: tuple[models.ModelsPage, Address]) -> list[Markup]:
    """The sections of the page."""
    data, at = loaded
    title = head("Models", "What was trained, how it did against its base, and what answers now.")
    if not data.models.rows and data.models.page == 1:
        return [title, empty("No model was made yet.", "undercroft up")]
    sections = [title, h("div", _route(data), _history(data), class_="columns")]
    if data.scorecard:
        link = (f"/artifacts/{data.scorecard.artifact.ref}", str(data.scorecard.artifact.ref))
        sections.append(section("Base against tuned", scorecard(data.scorecard), more=link))
    rows = table(_columns(data), data.models.rows, "Models")
    pages = pager(data.models, lambda number: at.with_query(page=number), "model")
    sections.append(section("All models", rows, pages))
    if data.decisions:
        sections.append(section("Decisions", decision_list(data.decisions)))
    return sections


def _route(data: models.ModelsPage) -> Markup:
    route = data.route
    if route is None:
        return section("Route", empty("No route yet: nothing was released.", "undercroft up"))
    model = str(route.meta.get("model") or "")
    rows: list[tuple[str, Child]] = [
        ("Answers come from", h("a", model, href=f"/artifacts/{model}") if model else None),
        ("Route", h("a", str(route.ref), href=f"/artifacts/{route.ref}")),
        ("Since", when(route.created_at)),
        ("Why", str(route.meta.get("reason") or "")),
    ]
    return section("Route", h("div", facts(rows), class_="card"),
                   more=(f"/lineage/{route.ref}", "Lineage"))  # fmt: skip


def _history(data: models.ModelsPage) -> Markup:
    names = {version: name for name, version in data.route_aliases.items()}
    items = [
        h(
            "li",
            h(
                "div",
                h("a", str(route.ref), href=f"/artifacts/{route.ref}", class_="row"),
                h("span", str(route.meta.get("model") or ""), class_="note"),
                class_="grow",
            ),
            tag(names[route.ref.version], "accent") if route.ref.version in names else None,
            when(route.created_at),
        )
        for route in data.routes[:6]
    ]
    content = h("ul", items, class_="list") if items else h("p", "No history.", class_="note")
    return section("History", h("div", content, class_="card flush" if items else "card"),
                   more=("/rollout", "Rollout"))  # fmt: skip


def _columns(data: models.ModelsPage) -> tuple[Column[Artifact], ...]:
    served = str(data.route.meta.get("model") or "") if data.route else ""

    def name(made: Artifact) -> Markup:
        mark = tag("served", "accent") if str(made.ref) == served else None
        return join(h("a", str(made.ref), href=f"/artifacts/{made.ref}", class_="row"), mark)

    return (
        Column("Model", name),
        Column("Format", lambda made: str(made.meta.get("format") or "–"), "optional"),
        Column("Size", lambda made: figures.size(made.size_bytes), "number"),
        Column("Digest", lambda made: h("code", made.digest[:12]), "optional"),
        Column("Made", lambda made: when(made.created_at), "optional number"),
    )


PAGE = Page(
    pattern="/models",
    title=lambda _: "Models",
    load=lambda project, at: (models.overview(project, at.page), at),
    render=render,
)
