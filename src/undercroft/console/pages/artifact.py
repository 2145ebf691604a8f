"""One artifact of any kind: its facts, its scorecard where it is one, and its ways on."""

from __future__ import annotations

import json
from typing import Any

from undercroft.console import figures
from undercroft.console.components.decisions import decision_list
from undercroft.console.components.frame import head, section
from undercroft.console.components.parts import facts, tag, when
from undercroft.console.components.scores import case_list, scorecard
from undercroft.console.components.tables import pager
from undercroft.console.markup import Child, Markup, h
from undercroft.console.router import Address, Page
from undercroft.console.views import models

_DOCUMENTS, _MODELS = ("/documents", "Documents"), ("/models", "Models")
_ABOVE = {
    "raw": _DOCUMENTS,
    "dataset": _DOCUMENTS,
    "model": _MODELS,
    "scorecard": _MODELS,
    "route": _MODELS,
}


def render(loaded: tuple[models.ArtifactPage, Address]) -> list[Markup]:
    """The sections of the page."""
    data, at = loaded
    artifact = data.artifact
    above = _ABOVE.get(artifact.kind, ("/lineage", "Lineage"))
    actions = h(
        "div",
        [tag(alias, "accent") for alias in data.aliases],
        h("a", "Lineage", href=f"/lineage/{artifact.ref}", class_="button"),
        h("a", "The run that made it", href=f"/runs/{artifact.run_id}", class_="button"),
        class_="actions",
    )
    sections = [head(str(artifact.ref), None, (above,), actions)]
    if data.scorecard:
        sections.append(section("Base against tuned", scorecard(data.scorecard)))
    if data.cases:
        pages = pager(data.cases, lambda number: at.with_query(page=number), "case")
        sections.append(section("Cases", case_list(data.cases.rows), pages))
    sections.append(h("div", _facts(data), _meta(data), class_="columns"))
    if data.decisions:
        sections.append(section("Decisions", decision_list(data.decisions)))
    return sections


def _facts(data: models.ArtifactPage) -> Markup:
    artifact = data.artifact
    rows: list[tuple[str, Child]] = [
        ("Kind", artifact.kind),
        ("Made by", h("a", data.stage, href=f"/runs/{artifact.run_id}")),
        ("Made", when(artifact.created_at)),
        ("Size", figures.size(artifact.size_bytes)),
        ("Kept at", h("code", artifact.uri)),
        ("Digest", h("code", artifact.digest)),
    ]
    return section("Artifact", h("div", facts(rows), class_="card"))


def _meta(data: models.ArtifactPage) -> Markup:
    rows = [(key.replace("_", " "), _written(value)) for key, value in data.artifact.meta.items()]
    content = facts(rows) if rows else h("p", "It says nothing more.", class_="note")
    return section("What it says of itself", h("div", content, class_="card"))


def _written(value: Any) -> Child:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return figures.count(value) if abs(value) >= 10_000 else str(value)
    if isinstance(value, float | str):
        return str(value)
    whole = json.dumps(value, indent=1, default=str)
    return h(
        "details", h("summary", figures.plural(len(value), "entry", "entries")), h("pre", whole)
    )


PAGE = Page(
    pattern="/artifacts/{ref}",
    title=lambda loaded: str(loaded[0].artifact.ref),
    load=lambda project, at: (models.one(project, at.values["ref"], at.page), at),
    render=render,
)
