"""Chat: whether there is somebody to ask, and questions to begin with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from undercroft.console.gateway import Gateway, Serving
from undercroft.console.views import documents
from undercroft.console.views.models import serving_route
from undercroft.lake import equals
from undercroft.project import Project

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
    """Questions to begin with: the smoke question, then titles of documents."""
    asked = project.settings.project.smoke_question
    dataset = documents.newest_dataset(project)
    if dataset is None:
        return [asked] if asked else []
    table = project.lake.table(str(dataset.meta["table"]))
    version = int(dataset.meta["version"])
    where = f"{equals('exact_duplicate_of', None)} AND num_chars > 400"
    rows = table.read(["title"], where, version, limit=200).to_pylist()
    titles = sorted({row["title"] for row in rows if row["title"]}, key=len)
    shown = titles[len(titles) // 2 :][: _SUGGESTED - bool(asked)]
    return [*([asked] if asked else []), *(f"What is {title}?" for title in shown)]


def sources(project: Project, sent: Sequence[Mapping[str, Any]]) -> list[documents.Source]:
    """The sources that the gateway sent with an answer, with their text."""
    passages = [{**source, "start": source["span"][0], "end": source["span"][1]} for source in sent]
    cited = [source["number"] for source in sent if source["cited"]]
    return documents.sources(project, passages, cited)
