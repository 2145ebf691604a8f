"""Which route is served: the alias ``route:NAME@live``, moved only here.

The gateway watches the alias and swaps routes whole, so moving it is all that a release or a
rollback takes. Every move has a decision in the ledger that says why.
"""

from __future__ import annotations

from undercroft.errors import NotFound
from undercroft.project import Project
from undercroft.records import Artifact, Decision, Ref

LIVE = "live"
RELEASE = "release"
ROLLBACK = "rollback"
ROLLOUT = "rollout"


def live_route(project: Project) -> Artifact | None:
    """The route that is served now, or None before the first release."""
    try:
        return project.ledger.artifact(Ref("route", project.name, alias=LIVE))
    except NotFound:
        return None


def enact(
    project: Project, route: Artifact, actor: str = "local", *, at_once: bool = True
) -> Decision:
    """Write down what the gate decided of ``route`` and, if ``at_once``, make it the live one.

    Does nothing a second time: the decision of a route is made once, so running the main job
    again after a rollback does not bring the route back. Returns the decision.
    """
    made = project.ledger.decisions(subject=str(route.ref), kind=RELEASE, limit=1)
    if made:
        return made[0]
    if at_once:
        project.ledger.set_alias(route.ref, LIVE, actor)
    scorecard = project.ledger.artifact(str(route.meta["scorecard"]))
    evidence = {
        "scorecard": str(scorecard.ref),
        "candidate": route.meta["candidate"],
        "model": route.meta["model"],
        "previous": route.meta["previous"],
        "differences": scorecard.meta["evaluation"]["differences"],
    }
    verdict = "released" if route.meta["released"] else "refused"
    return project.ledger.decide(
        RELEASE, str(route.ref), verdict, str(route.meta["reason"]), evidence, actor
    )


def rollback(project: Project, reason: str = "", actor: str = "local") -> Artifact:
    """Make the route before the live one live again, and return it.

    Routes that serve the same as the live one, routes that were themselves rolled back, and those
    put together by hand and never live, are passed over. Raises `NotFound` when there is none to
    go back to.
    """
    live = live_route(project)
    if live is None:
        raise NotFound(
            f"Nothing is released in {project.name}.", do="Release something first: undercroft up"
        )
    target = before(project, live)
    project.ledger.set_alias(target.ref, LIVE, actor)
    project.ledger.decide(
        ROLLBACK,
        str(live.ref),
        "rolled back",
        reason or "Asked for by hand.",
        {"to": str(target.ref), "model": target.meta["model"]},
        actor,
    )
    return target


def before(project: Project, live: Artifact) -> Artifact:
    """The route that `rollback` goes back to from ``live``. Raises `NotFound` without one."""
    withdrawn = {one.subject for one in project.ledger.decisions(kind=ROLLBACK, limit=10_000)}
    put_live = {one.subject for one in project.ledger.decisions(kind=RELEASE, limit=10_000)}
    for one in project.ledger.decisions(kind=ROLLOUT, limit=10_000):
        put_live |= {one.subject} if one.verdict == "promoted" else set()
    assert live.ref.version is not None
    for version in range(live.ref.version - 1, 0, -1):
        route = project.ledger.artifact(Ref("route", project.name, version=version))
        was_live = str(route.ref) in put_live or not route.meta.get("by_hand")
        if str(route.ref) not in withdrawn and was_live and _serves(route) != _serves(live):
            return route
    raise NotFound(
        f"There is no route before {live.ref} to go back to.",
        do=f"See all of them with: undercroft ls route   ({live.ref} stays live)",
    )


def _serves(route: Artifact) -> tuple[object, ...]:
    """What makes two routes different to a user."""
    parts = ("model", "index", "embedding", "adapters", "fallback", "template")
    return tuple(route.meta.get(key) for key in parts)
