"""One artifact of any kind: its facts, its scorecard where it is one, and its ways on."""

from __future__ import annotations

import json
from typing import Any

from undercroft.console import figures
from undercroft.console.components.decisions import decision_list
from undercroft.console.components.frame import head, section
from undercroft.console.components.parts import facts, tag, when
from undercroft.console.components.scores import scorecard
from undercroft.console.markup import Child, Markup, h
from undercroft.console.router import Page
from undercroft.console.views import models

_ABOVE = {"dataset": ("/documents", "Documents"), "raw": ("/documents", "Documents")}


def render(data: models.ArtifactPage) -> list[Markup]:
    """The sections of the page."""
    artifact = data.artifact
    above = _ABOVE.get(artifact.kind, ("/models", "Models"))
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
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return figures.count(value) if abs(value) >= 10_000 else str(value)
    if isinstance(value, float | str):
        return str(value)
    return h("pre", json.dumps(value, indent=1, default=str))


PAGE = Page(
    pattern="/artifacts/{ref}",
    title=lambda data: str(data.artifact.ref),
    load=lambda project, at: models.one(project, at.values["ref"]),
    render=render,
)
