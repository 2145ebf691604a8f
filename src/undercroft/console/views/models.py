"""Models: what there is, how each did against its base, and which one is served."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from undercroft.console.views.lists import PAGE_SIZE, Paged, one_more
from undercroft.project import Project
from undercroft.records import Artifact, Decision, Ref

#: Metrics of a scorecard in the order people ask for them.
METRICS = (
    ("answer_f1", "Answer F1"),
    ("grounded", "Grounded"),
    ("cited", "Cites rightly"),
    ("refused_unanswerable", "Refuses the unanswerable"),
    ("refused_answerable", "Refuses the answerable"),
    ("repetition", "Repetition"),
    ("answer_perplexity", "Answer perplexity"),
)
_LOWER_IS_BETTER = frozenset({"refused_answerable", "repetition", "answer_perplexity"})
CASES_FILE = "cases.jsonl"
CASES_SHOWN = 10
_RECENT = 6


@dataclass(frozen=True)
class Score:
    """One metric of base and tuned model, with the interval of the difference where it is known."""

    title: str
    base: float
    tuned: float
    lower_is_better: bool
    interval: tuple[float, float] | None
    significant: bool | None


@dataclass(frozen=True)
class Scorecard:
    artifact: Artifact
    scores: Sequence[Score]
    cases: int
    significant: bool | None
    retrieval: Mapping[str, Any]


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
    cases: Paged[Mapping[str, Any]] | None


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


def one(project: Project, ref: str, page: int = 1) -> ArtifactPage:
    """One artifact by its ref, with a page of its cases where it is a scorecard.

    Raises `NotFound` or `BadRef`.
    """
    artifact = project.ledger.artifact(ref)
    aliases = project.ledger.aliases(artifact.kind, artifact.name)
    return ArtifactPage(
        artifact=artifact,
        aliases=[name for name, version in aliases.items() if version == artifact.ref.version],
        stage=project.ledger.run_of(artifact).stage,
        decisions=project.ledger.decisions(subject=str(artifact.ref)),
        scorecard=scorecard(artifact) if artifact.kind == "scorecard" else None,
        cases=cases(project, artifact, page) if artifact.kind == "scorecard" else None,
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
    differences = evaluation.get("differences") or {}
    scores = [
        _score(title, base[key], tuned[key], key in _LOWER_IS_BETTER, differences.get(key) or {})
        for key, title in METRICS
        if base.get(key) is not None and tuned.get(key) is not None
    ]
    return Scorecard(
        artifact,
        scores,
        int(evaluation.get("cases") or 0),
        evaluation.get("significant"),
        evaluation.get("retrieval") or {},
    )


def _score(
    title: str, base: float, tuned: float, lower_is_better: bool, difference: Mapping[str, Any]
) -> Score:
    low, high = difference.get("low"), difference.get("high")
    interval = None if low is None or high is None else (float(low), float(high))
    significant = difference.get("significant")
    return Score(title, float(base), float(tuned), lower_is_better, interval, significant)


def cases(project: Project, artifact: Artifact, page: int) -> Paged[Mapping[str, Any]] | None:
    """One page of a scorecard's cases; None where it kept none."""
    if not artifact.uri.startswith("blob:"):
        return None
    path = project.path(artifact) / CASES_FILE
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    first = (page - 1) * CASES_SHOWN
    shown = [json.loads(line) for line in lines[first : first + CASES_SHOWN]]
    return Paged(shown, len(lines), page, CASES_SHOWN)
