from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.release.test_gate import evaluation
from undercroft.errors import NotFound
from undercroft.ledger import MadeArtifact
from undercroft.project import Project
from undercroft.records import Artifact, Footprint
from undercroft.release import LIVE, compose, enact, rollback
from undercroft.release.compose import Change
from undercroft.release.live import live_route
from undercroft.release.stage import release

BETTER = evaluation()
CHANCE = evaluation(significant=False)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.open(tmp_path, {"project.name": "docs"})


def put(project: Project, kind: str, name: str, **meta: Any) -> Artifact:
    """An artifact as some stage would have committed it."""
    run = project.ledger.begin_run("test", uuid.uuid4().hex, {}, [])
    digest = uuid.uuid4().hex * 2
    made = MadeArtifact(kind, name, digest, f"blob:{kind}/{name}/{digest[:32]}", 1, meta)
    return project.ledger.finish_run(run.id, [made], Footprint())[0]


@pytest.fixture
def put_forward(project: Project) -> Callable[[Mapping[str, Any]], Artifact]:
    """Trains, evaluates and releases a new candidate, with the scorecard given."""
    shared = {
        "base": put(project, "model", "docs-base-q8_0"),
        "index": put(project, "index", "docs"),
        "embedding": put(project, "embedding", "docs"),
    }

    def one_more(summary: Mapping[str, Any]) -> Artifact:
        tuned = put(project, "model", "docs-q8_0")
        scorecard = put(project, "scorecard", "docs", evaluation=dict(summary))
        (route,) = release(project, scorecard=scorecard, tuned=tuned, **shared)
        enact(project, route)
        return route

    return one_more


PutForward = Callable[[Mapping[str, Any]], Artifact]


def test_a_better_model_becomes_the_live_route(project: Project, put_forward: PutForward) -> None:
    route = put_forward(BETTER)
    assert route.meta["released"] is True
    assert route.meta["model"] == "model:docs-q8_0@1"
    assert project.ledger.artifact(f"route:docs@{LIVE}").ref == route.ref
    stored = json.loads(project.path(route).read_text())
    assert stored["arms"] == [{"model": "model:docs-q8_0@1", "weight": 1.0}]
    assert {"index", "embedding", "dataset", "scorecard", "sampling", "prompt"} <= set(stored)
    (decision,) = project.ledger.decisions(kind="release")
    assert (decision.verdict, decision.subject) == ("released", str(route.ref))
    assert decision.evidence["differences"] == BETTER["differences"]


def test_with_nothing_served_before_a_refused_model_leaves_the_base(
    project: Project, put_forward: PutForward
) -> None:
    route = put_forward(CHANCE)
    assert route.meta["released"] is False
    assert route.meta["model"] == "model:docs-base-q8_0@1"
    assert "may be chance" in route.meta["reason"]
    assert project.ledger.decisions(kind="release")[0].verdict == "refused"


def test_a_refused_model_leaves_the_one_released_before(
    project: Project, put_forward: PutForward
) -> None:
    first, second = put_forward(BETTER), put_forward(CHANCE)
    assert second.meta["model"] == first.meta["model"] == "model:docs-q8_0@1"
    assert second.meta["candidate"] == "model:docs-q8_0@2"
    assert second.meta["reason"].endswith("Serving model:docs-q8_0@1 instead.")
    assert live_route(project) == second


def test_routes_are_immutable_versions(project: Project, put_forward: PutForward) -> None:
    first, second = put_forward(BETTER), put_forward(BETTER)
    assert (first.ref.version, second.ref.version) == (1, 2)
    assert project.ledger.artifact(first.ref) == first
    assert not project.path(first).stat().st_mode & 0o222


def test_rollback_serves_the_previous_route_and_says_why(
    project: Project, put_forward: PutForward
) -> None:
    first, second = put_forward(BETTER), put_forward(BETTER)
    assert rollback(project, reason="answers got shorter", actor="ada").ref == first.ref
    assert live_route(project) == first
    (decision,) = project.ledger.decisions(kind="rollback")
    assert (decision.subject, decision.actor) == (str(second.ref), "ada")
    assert decision.reason == "answers got shorter"


def test_running_the_job_again_does_not_undo_a_rollback(
    project: Project, put_forward: PutForward
) -> None:
    first, second = put_forward(BETTER), put_forward(BETTER)
    rollback(project)
    enact(project, second)
    assert live_route(project) == first


def test_a_release_that_died_before_the_alias_moved_is_completed(
    project: Project, put_forward: PutForward
) -> None:
    first = put_forward(BETTER)
    scorecard = put(project, "scorecard", "docs", evaluation=BETTER)
    refs = {key: f"{key}:docs" for key in ("index", "embedding")}
    models = {"base": "model:docs-base-q8_0", "tuned": put(project, "model", "docs-q8_0")}
    (route,) = release(project, scorecard=scorecard, **models, **refs)
    assert live_route(project) == first
    (again,) = release(project, scorecard=scorecard, **models, **refs)
    assert again.ref == route.ref
    enact(project, again)
    assert live_route(project) == route


def test_rollback_passes_over_routes_that_were_withdrawn_or_serve_the_same(
    project: Project, put_forward: PutForward
) -> None:
    first, _withdrawn = put_forward(BETTER), put_forward(BETTER)
    rollback(project)
    put_forward(CHANCE)  # serves the first's model again
    put_forward(BETTER)
    assert rollback(project).meta["model"] == first.meta["model"]
    with pytest.raises(NotFound, match="no route before"):
        rollback(project)


def test_rollback_without_a_release_says_what_to_do(project: Project) -> None:
    with pytest.raises(NotFound, match="Nothing is released"):
        rollback(project)


def test_another_way_to_sample_is_another_route(tmp_path: Path) -> None:
    def planned(temperature: float) -> str:
        project = Project.open(tmp_path, {"sampling.temperature": temperature})
        return release.plan(project).memo_key

    assert planned(0.0) != planned(0.5)
    assert planned(0.5) == planned(0.5)


def test_the_route_says_how_far_a_question_may_be(
    project: Project, put_forward: PutForward
) -> None:
    assert put_forward(BETTER).meta["min_score"] == 0.0
    assert put_forward({**BETTER, "lowest_score": 0.78}).meta["min_score"] == 0.73
    assert put_forward({**BETTER, "lowest_score": 0.02}).meta["min_score"] == 0.0


def test_what_people_put_beside_the_model_stays_where_it_fits(
    project: Project, put_forward: PutForward
) -> None:
    put_forward(CHANCE)
    put(project, "adapter", "legal", fits="model:docs-base-q8_0@1")
    other = put(project, "model", "theirs")
    beside = Change(adapters={"legal": ["acme"]}, fallback=str(other.ref))
    compose.put_live(project, compose.changed(project, beside), "ada")
    refused = put_forward(CHANCE)
    assert refused.meta["adapters"] == {"adapter:legal@1": ["acme"]}
    better = put_forward(BETTER)
    assert "adapters" not in better.meta, "it is of other weights"
    assert better.meta["fallback"] == "model:theirs@1"
