"""A new route beside the live one: begun, promoted and ended by people; the gateway does the rest.

Each of these takes effect in the trial's file at once, which a running gateway follows within
0.2 s, and is told to the ledger afterwards.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from typing import Any

import msgspec

from undercroft.errors import BadInput, Denied, NotFound, UndercroftError
from undercroft.project import Project
from undercroft.records import Artifact, Ref
from undercroft.release.live import RELEASE, enact, live_route, rollback
from undercroft.settings import RolloutSettings
from undercroft.trials import trial as trials
from undercroft.trials.telling import hear, tell
from undercroft.trials.trial import Kind, Status, Trial

NEWEST = "newest"


def start(
    project: Project,
    route: str = NEWEST,
    actor: str = "local",
    *,
    kind: Kind = "rollout",
    settings: RolloutSettings | None = None,
) -> Trial:
    """Let ``route`` meet the traffic beside the live one.

    Raises `NotFound` when nothing is live or there is no such route, and `BadInput` when both are
    the same or another trial is open.
    """
    settings = settings or project.settings.rollout
    _hear(project)
    live = live_route(project)
    if live is None:
        raise NotFound(
            f"Nothing is released in {project.name}.", do="Release something first: undercroft up"
        )
    canary = _route(project, route)
    if canary.ref == live.ref:
        raise BadInput(
            f"{live.ref} is live already.",
            "There is nothing to compare it with.",
            "Name another route: undercroft ls route",
        )
    now = time.time()
    made = Trial(
        id=f"{time.strftime('%Y%m%d', time.gmtime(now))}-{secrets.token_hex(4)}",
        kind=kind,
        canary=str(canary.ref),
        control=str(live.ref),
        settings=settings.model_dump(mode="json"),
        started_by=actor,
        started_at=now,
        step_at=now,
        share=0.0 if settings.shadow_requests else settings.steps[0],
        reason=f"{canary.meta['model']} against {live.meta['model']}.",
    )
    trials.begin(project.state, made)
    tell(project.ledger, project.state)
    return made


def introduce(project: Project, route: Artifact, actor: str = "local") -> None:
    """Release what the gate let through, once: at once, or with ``rollout.automatic`` in steps
    beside the route that is live, in place of any that was being rolled out."""
    if project.ledger.decisions(subject=str(route.ref), kind=RELEASE, limit=1):
        return
    live = live_route(project)
    is_gradual = bool(live) and project.settings.rollout.automatic and route.meta["released"]
    enact(project, route, actor, at_once=not is_gradual)
    if is_gradual:
        _hear(project)
        trial = trials.read(project.state)
        if trial is not None and trial.is_open:
            stop(project, actor, f"{route.ref} takes its place.")
        start(project, str(route.ref), actor)


def promote(project: Project, actor: str = "local", reason: str = "", secret: str = "") -> Trial:
    """Serve the canary to everybody, now. Raises `NotFound` without an open trial.

    Where the rollout asks for approval, ``secret`` must be the API key of an admin who did not
    start it; raises `Denied` otherwise.
    """
    trial = _open(project)
    if RolloutSettings(**trial.settings).approval:
        actor = _approver(project, trial, secret)
    return _end(project, "promoted", actor, reason or "Promoted by hand.")


def undo(project: Project, actor: str = "local", reason: str = "") -> tuple[str, str]:
    """Back to the old route: end the trial that is open, or else the release before.

    Returns the route that is live now and the one that is not any more. Raises `NotFound` where
    there is nothing to go back to.
    """
    _hear(project)
    trial = trials.read(project.state)
    if trial is not None and trial.is_open:
        _end(project, "rolled back", actor, reason or "Asked for by hand.")
        return trial.control, trial.canary
    live = live_route(project)
    return str(rollback(project, reason, actor).ref), str(live.ref) if live else ""


def stop(project: Project, actor: str = "local", reason: str = "") -> Trial:
    """End an experiment; the control stays live, and nothing is said against the canary."""
    _hear(project)
    return _end(project, "stopped", actor, reason or "Ended by hand.")


def _end(project: Project, status: Status, actor: str, reason: str) -> Trial:
    def ended(found: Trial) -> Trial:
        if not found.is_open:
            raise _nothing_open()
        return msgspec.structs.replace(found, status=status, by=actor, reason=reason)

    made = trials.change(project.state, ended)
    tell(project.ledger, project.state)
    return made


def _open(project: Project) -> Trial:
    _hear(project)
    trial = trials.read(project.state)
    if trial is None or not trial.is_open:
        raise _nothing_open()
    return trial


def _hear(project: Project) -> None:
    """What gateways elsewhere made of the trial, if they share the ledger and it answers."""
    if project.settings.store.ledger:
        with suppress(UndercroftError):
            hear(project.ledger, project.name, project.state)


def _nothing_open() -> NotFound:
    return NotFound(
        "No rollout is open.", do="Start one with: undercroft release start route:NAME@N"
    )


def _approver(project: Project, trial: Trial, secret: str) -> str:
    who = project.trust.keys.identify(secret) if secret else None
    if who is None or who.role != "admin":
        raise Denied(
            "This rollout needs approval.",
            "rollout.approval asks for the key of an admin, and no other was given.",
            "Give it in the environment: UNDERCROFT_KEY=uc-… undercroft release promote",
        )
    if who.name == trial.started_by:
        raise Denied(
            "Who started a rollout cannot approve it.",
            f"{who.name} started it.",
            "Ask another admin.",
        )
    return who.name


def _route(project: Project, name: str) -> Artifact:
    if name != NEWEST:
        ref = Ref.parse(name if ":" in name else f"route:{name}")
        if ref.kind != "route":
            raise BadInput(f"{name} is not a route.", do="See them with: undercroft ls route")
        return project.ledger.artifact(ref)
    return project.ledger.artifact(Ref("route", project.name))


def status(project: Project) -> dict[str, Any] | None:
    """The last trial and what the gateway counted of it, as plain values; None without one."""
    _hear(project)
    trial = trials.read(project.state)
    if trial is None:
        return None
    counted = trials.read_tally(project.state) or {"tally": {}, "curve": []}
    curve = counted["curve"]
    return {
        **msgspec.to_builtins(trial),
        "units": counted["tally"].get("units", {}),
        "requests": counted["tally"].get("requests", {}),
        "shadows": counted["tally"].get("shadows", 0),
        "standings": curve[-1]["standings"] if curve else [],
        "curve": curve,
    }
