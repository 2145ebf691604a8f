"""``release(scorecard, base, tuned, index, embedding) -> route``: the gate, and what it leads to.

A route is immutable. It becomes the live one when `live.enact` moves the alias, after the run
that made it is committed.
"""

from __future__ import annotations

import json

from undercroft.errors import NotFound
from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.release import prompts
from undercroft.release.compose import carried
from undercroft.release.gate import judge
from undercroft.release.live import live_route
from undercroft.settings import ReleaseSettings
from undercroft.stage import Made, StageRun, code_digest, stage

PROMPT = "undercroft.retrieve.prompt"


def _served_with(project: Project, params: ReleaseSettings) -> str:  # noqa: ARG001
    """A route fixes how tokens are drawn, what the prompt says and when nothing is asked."""
    sampling = project.settings.sampling.model_dump_json()
    margin = project.settings.retrieve.abstain_margin
    return f"{sampling} {code_digest((PROMPT,))} {project.prompt.fingerprint} {margin}"


@stage("release", version=1, params=ReleaseSettings, fingerprint=_served_with)
def release(
    run: StageRun,
    params: ReleaseSettings,
    *,
    scorecard: Artifact,
    base: Artifact,
    tuned: Artifact,
    index: Artifact,
    embedding: Artifact,
    prompt: Artifact | None = None,
) -> Made:
    """Route the traffic to ``tuned`` if the gate lets it, else to what was served before.

    New documents are served either way: only the model is gated. With nothing served before, a
    refused model leaves the traffic to ``base``. ``prompt`` is what the scorecard was made with.
    """
    verdict = judge(scorecard.meta["evaluation"], params)
    previous = live_route(run.project)
    model = str(tuned.ref) if verdict.released else _kept(run.project, previous, base)
    reason = verdict.reason if verdict.released else f"{verdict.reason} Serving {model} instead."
    route = {
        "name": run.project.name,
        "model": model,
        "arms": [{"model": model, "weight": 1.0}],
        "index": str(index.ref),
        "embedding": str(embedding.ref),
        "dataset": _dataset_of(run.project, index),
        "scorecard": str(scorecard.ref),
        "sampling": run.project.settings.sampling.model_dump(mode="json"),
        "prompt": code_digest((PROMPT,))[:16],
        "template": str((prompt or prompts.wanted(run.project)).ref),
        "min_score": _min_score(scorecard, run.project.settings.retrieve.abstain_margin),
        "previous": str(previous.ref) if previous else "",
        "candidate": str(tuned.ref),
        "released": verdict.released,
        "reason": reason,
        **carried(run.project, previous, run.project.ledger.artifact(model)),
    }
    file = run.workdir / "route.json"
    file.write_text(json.dumps(route, indent=2), encoding="utf-8")
    run.event("gate", released=verdict.released, reason=reason)
    return Made("route", run.project.name, path=file, meta=route)


def _min_score(scorecard: Artifact, margin: float) -> float:
    """What the best passage for a question must reach for the model to be asked; 0 is no limit.

    It lies ``margin`` below what any held-out question about these documents found.
    """
    lowest = scorecard.meta["evaluation"].get("lowest_score")
    return round(max(0.0, lowest - margin), 4) if lowest is not None and margin < 1 else 0.0


def _kept(project: Project, previous: Artifact | None, base: Artifact) -> str:
    """The model that stays: the one served before if it is still there, else the base."""
    if previous is None:
        return str(base.ref)
    try:
        return str(project.ledger.artifact(str(previous.meta["model"])).ref)
    except NotFound:
        return str(base.ref)


def _dataset_of(project: Project, index: Artifact) -> str:
    """The dataset that the index was built from, by the ledger."""
    inputs = project.ledger.run_of(index).inputs
    return next((str(ref) for ref in inputs if ref.kind == "dataset"), "")
