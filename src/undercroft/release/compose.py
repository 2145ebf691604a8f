"""A route put together by hand: the live one with another model, adapters beside it, a fallback.

The gate judges what training made. What a person brings along (a model that runs elsewhere, a
tenant's adapter) has no scorecard: it goes live by somebody's word, which is written down, and
where the policy asks for a second person only through a rollout that one approves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from undercroft.errors import BadInput, Denied
from undercroft.project import Project
from undercroft.records import Artifact, Ref
from undercroft.release.live import LIVE, RELEASE, live_route
from undercroft.settings import Section
from undercroft.stage import Made, StageRun, stage

JUDGED = ("scorecard", "candidate", "released", "prompt")
"""Facts of a route that are about the model that the gate let through, and no other."""


class Composition(Section):
    """The whole meta of the route to be; its parts are the stage's inputs."""

    meta: dict[str, Any]


@stage("compose", version=1, params=Composition)
def compose(run: StageRun, params: Composition, **parts: Artifact) -> Made:  # noqa: ARG001
    """The route; ``parts`` are the artifacts that it names, so that lineage knows them."""
    file = run.workdir / "route.json"
    file.write_text(json.dumps(params.meta, indent=2), encoding="utf-8")
    return Made("route", run.project.name, path=file, meta=params.meta)


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be other than in the live route. ``adapters`` are refs, each with the keys or
    tenants that it is for; none: whoever asks for it. ``fallback`` "" takes it away."""

    model: str | None = None
    adapters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    without: Sequence[str] = ()
    fallback: str | None = None


def changed(project: Project, change: Change, reason: str = "") -> Artifact:
    """A new route, not yet live: the live one with ``change``.

    Without a live route it needs a model. Raises `BadInput` when nothing would be other, an
    adapter does not fit, or a part is not of its kind, and `NotFound`.
    """
    live = live_route(project)
    meta = dict(live.meta) if live is not None else {}
    if change.model is not None:
        _put_model(project, meta, change.model)
    if "model" not in meta:
        raise BadInput(
            f"Nothing is released in {project.name} that could be changed.",
            do="Name a model: undercroft release change --model model:NAME",
        )
    _put_adapters(project, meta, change)
    if change.fallback or (change.fallback is not None and meta.get("fallback")):
        meta["fallback"] = (
            str(_part(project, change.fallback, "model").ref) if change.fallback else ""
        )
        if meta["fallback"] in _models(meta):
            raise BadInput(
                f"{meta['fallback']} is served already.", "It cannot stand in for itself."
            )
    if live is not None and meta == dict(live.meta):
        raise BadInput(
            f"{live.ref} is that already.", do=f"See it with: undercroft show {live.ref}"
        )
    previous = str(live.ref) if live else ""
    meta |= {"previous": previous, "reason": reason or "Put together by hand.", "by_hand": True}
    (made,) = compose(project, Composition(meta=meta), **_parts(project, meta))
    return made


def put_live(project: Project, route: Artifact, actor: str, reason: str = "") -> None:
    """Serve ``route`` from now on, without a rollout. Raises `Denied` where one has to be approved
    by a second person."""
    if project.settings.rollout.approval:
        raise Denied(
            "A route needs somebody's approval here (rollout.approval).",
            f"{route.ref} is made, and not live.",
            f"Roll it out: undercroft release start {route.ref}",
        )
    why = reason or str(route.meta["reason"])
    project.ledger.set_alias(route.ref, LIVE, actor)
    evidence = {
        name: route.meta.get(name) for name in ("model", "adapters", "fallback", "previous")
    }
    project.ledger.decide(RELEASE, str(route.ref), "released by hand", why, evidence, actor)


def _put_model(project: Project, meta: dict[str, Any], name: str) -> None:
    model = str(_part(project, name, "model").ref)
    if model == meta.get("model"):
        return
    for key in JUDGED:
        meta.pop(key, None)
    meta |= {"name": project.name, "model": model, "arms": [{"model": model, "weight": 1.0}]}


def _put_adapters(project: Project, meta: dict[str, Any], change: Change) -> None:
    gone = {str(_part(project, name, "adapter").ref) for name in change.without}
    kept = {ref: owners for ref, owners in (meta.get("adapters") or {}).items() if ref not in gone}
    for name, owners in change.adapters.items():
        adapter = _part(project, name, "adapter")
        older = [ref for ref in kept if Ref.parse(ref).name == adapter.name]
        for ref in older:  # one version of each
            del kept[ref]
        kept[str(adapter.ref)] = list(owners)
    for ref in kept:
        for model in _models(meta):
            _check_fit(project.ledger.artifact(ref), project.ledger.artifact(model))
    if kept or meta.get("adapters"):
        meta["adapters"] = kept


def carried(project: Project, previous: Artifact | None, model: Artifact) -> dict[str, Any]:
    """What people put beside the model of ``previous`` and a new route to ``model`` keeps: the
    fallback, and the adapters that fit."""
    if previous is None:
        return {}
    named = previous.meta.get("adapters") or {}
    kept = {
        ref: owners for ref, owners in named.items() if _fits(project.ledger.artifact(ref), model)
    }
    fallback = previous.meta.get("fallback")
    return {
        **({"adapters": kept} if kept else {}),
        **({"fallback": fallback} if fallback and fallback != str(model.ref) else {}),
    }


def _check_fit(adapter: Artifact, model: Artifact) -> None:
    """An adapter of other weights is applied without a word, and answers nonsense."""
    if not _fits(adapter, model):
        fits, source = adapter.meta["fits"], model.meta.get("source", "something else")
        raise BadInput(
            f"{adapter.ref} does not fit {model.ref}.",
            f"It was trained on {fits}; the model is made from {source}.",
            f"Serve the model it fits: undercroft compress {fits}, then add --model to this.",
        )


def _fits(adapter: Artifact, model: Artifact) -> bool:
    fits = str(adapter.meta.get("fits", ""))
    return not fits or fits in (str(model.meta.get("source", "")), str(model.ref))


def _models(meta: Mapping[str, Any]) -> list[str]:
    return [str(arm["model"]) for arm in meta.get("arms") or [{"model": meta["model"]}]]


def _parts(project: Project, meta: Mapping[str, Any]) -> dict[str, Artifact]:
    """Every artifact that a route with ``meta`` names."""
    refs = [
        *_models(meta),
        *(meta.get("adapters") or ()),
        *(
            str(meta[name])
            for name in ("index", "embedding", "fallback", "template")
            if meta.get(name)
        ),
    ]
    found = [project.ledger.artifact(ref) for ref in dict.fromkeys(refs)]
    return {f"part_{number}": each for number, each in enumerate(found)}


def _part(project: Project, name: str, kind: str) -> Artifact:
    ref = Ref.parse(name if ":" in name else f"{kind}:{name}")
    if ref.kind != kind:
        raise BadInput(f"{name} is no {kind}.", do=f"See them with: undercroft ls {kind}")
    return project.ledger.artifact(ref)
