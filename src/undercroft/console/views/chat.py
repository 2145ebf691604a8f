"""Chat: whether there is somebody to ask, and questions to begin with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from undercroft.client import Gateway, Serving
from undercroft.console.views import documents
from undercroft.console.views.models import CASES_FILE, serving_route
from undercroft.errors import BadInput, NotFound
from undercroft.project import Project
from undercroft.records import Ref

_SUGGESTED = 3


@dataclass(frozen=True)
class Chat:
    title: str
    model: str
    serving: Serving
    suggestions: Sequence[str]
    draft: str


def read(project: Project, draft: str = "") -> Chat:
    """What the page shows before the first question; ``draft`` stands in its input."""
    route = serving_route(project)
    return Chat(
        title=project.title,
        model=str(route.meta.get("model") or "") if route else "",
        serving=Gateway(project).state(),
        suggestions=suggestions(project),
        draft=draft,
    )


def suggestions(project: Project) -> list[str]:
    """Questions to begin with: the smoke question, then held-out ones that have an answer."""
    asked = project.settings.project.smoke_question
    held_out = [question for question in _held_out(project) if question != asked]
    return ([asked] if asked else []) + held_out[: _SUGGESTED - bool(asked)]


def _held_out(project: Project) -> list[str]:
    """The shortest answerable question of each kind in the newest suite, shortest first."""
    try:
        suite = project.ledger.artifact(Ref("suite", project.name))
        lines = (project.path(suite) / CASES_FILE).read_text(encoding="utf-8").splitlines()
    except (NotFound, BadInput, OSError):
        return []
    shortest: dict[str, str] = {}
    for case in map(json.loads, lines):
        before = shortest.get(case["kind"])
        if case["answerable"] and (before is None or len(case["question"]) < len(before)):
            shortest[case["kind"]] = case["question"]
    return sorted(shortest.values(), key=len)


def sources(project: Project, sent: Sequence[Mapping[str, Any]]) -> list[documents.Source]:
    """The sources that the gateway sent with an answer, with their text."""
    passages = [{**source, "start": source["span"][0], "end": source["span"][1]} for source in sent]
    cited = [source["number"] for source in sent if source["cited"]]
    return documents.sources(project, passages, cited)
