"""Models: what there is, how each did against its base, and which one is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from undercroft.console.views.lists import PAGE_SIZE, Paged, one_more
from undercroft.project import Project
from undercroft.records import Artifact, Decision, Ref

#: Metrics of a scorecard in the order people ask for them; lower is better for the last.
METRICS = (
    ("answer_f1", "Answer F1", False),
    ("grounded", "Grounded", False),
    ("cited", "Cites rightly", False),
    ("refused_unanswerable", "Refuses unanswerable", False),
    ("repetition", "Repetition", True),
    ("answer_perplexity", "Answer perplexity", True),
)
_RECENT = 6


@dataclass(frozen=True)
class Score:
    """One metric of base and tuned model; ``significant`` is None where nobody tested it."""

    key: str
    title: str
    base: float
    tuned: float
    lower_is_better: bool


@dataclass(frozen=True)
class Scorecard:
    artifact: Artifact
    scores: Sequence[Score]
    cases: int
    significant: bool | None


@dataclass(frozen=True)
class ModelsPage:
    models: Paged[Artifact]
    route: Artifact | None
    routes: Sequence[Artifact]
    route_aliases: Mapping[str, int]
    scorecard: Scorecard | None
    decisions: Sequence[Decision]


@dataclass(frozen=True)
class ArtifactPage:
    """Any one artifact, with the run that made it."""

    artifact: Artifact
    aliases: Sequence[str]
    stage: str
    decisions: Sequence[Decision]
    scorecard: Scorecard | None


def overview(project: Project, page: int = 1) -> ModelsPage:
    """What is served and was served, the newest scorecard, and one page of the models."""
    ledger = project.ledger
    routes = ledger.artifacts(kind="route", limit=_RECENT)
    scorecards = ledger.artifacts(kind="scorecard", limit=1)
    first = (page - 1) * PAGE_SIZE
    return ModelsPage(
        models=one_more(ledger.artifacts("model", limit=PAGE_SIZE + 1, offset=first), page),
        route=serving_route(project),
        routes=routes,
        route_aliases=ledger.aliases("route", project.name),
        scorecard=scorecard(scorecards[0]) if scorecards else None,
        decisions=ledger.decisions(limit=_RECENT),
    )


def one(project: Project, ref: str) -> ArtifactPage:
    """One artifact by its ref; raises `NotFound` or `BadRef`."""
    artifact = project.ledger.artifact(ref)
    aliases = project.ledger.aliases(artifact.kind, artifact.name)
    return ArtifactPage(
        artifact=artifact,
        aliases=[name for name, version in aliases.items() if version == artifact.ref.version],
        stage=project.ledger.run_of(artifact).stage,
        decisions=project.ledger.decisions(subject=str(artifact.ref)),
        scorecard=scorecard(artifact) if artifact.kind == "scorecard" else None,
    )


def serving_route(project: Project) -> Artifact | None:
    """The route that the gateway answers by: the alias ``live``, or else the newest."""
    from undercroft.errors import NotFound

    for ref in (Ref("route", project.name, alias="live"), Ref("route", project.name)):
        try:
            return project.ledger.artifact(ref)
        except NotFound:
            continue
    return None


def scorecard(artifact: Artifact) -> Scorecard:
    """A scorecard artifact's numbers; metrics it does not have are left out."""
    evaluation = artifact.meta.get("evaluation") or {}
    base, tuned = evaluation.get("base") or {}, evaluation.get("tuned") or {}
    scores = [
        Score(key, title, float(base[key]), float(tuned[key]), lower)
        for key, title, lower in METRICS
        if base.get(key) is not None and tuned.get(key) is not None
    ]
    return Scorecard(
        artifact, scores, int(evaluation.get("cases") or 0), evaluation.get("significant")
    )


def facts_of(meta: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The plain values of an artifact's meta, for a list of facts."""
    return [
        (key.replace("_", " "), value)
        for key, value in meta.items()
        if isinstance(value, str | int | float | bool) and value != ""
    ]
