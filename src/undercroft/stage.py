"""``@stage``: one declaration is a ledger run, a durable job and a command.

A stage is a function from artifacts to artifacts::

    @stage("curate", version=1, params=CurateSettings)
    def curate(run: StageRun, params: CurateSettings, *, raw: Artifact) -> Made: ...

Calling ``curate(project, raw=ref)`` pins the inputs, computes the memo key and returns the outputs
of a finished run with the same key at once. Otherwise it opens a run, calls the function, commits
outputs, lineage and one audit entry in a single transaction. Whatever stops it before that leaves
nothing visible, and the next attempt finds the same ``run.workdir``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar

from undercroft.errors import Cancelled, StageFailed, StorageFull, UndercroftError
from undercroft.ledger import MadeArtifact
from undercroft.meter import Meter
from undercroft.project import Project
from undercroft.records import Artifact, Footprint, Ref
from undercroft.settings import Section

P = TypeVar("P", bound=Section)

REGISTRY: dict[str, Stage[Any]] = {}
"""Every stage that has been imported, by name."""

PROGRESS_INTERVAL_S = 0.5  # every report is a commit


@dataclass(frozen=True)
class Made:
    """What a stage function returns: an output that is not yet an artifact.

    Exactly one of ``path`` (a file or folder of the workdir, moved into the blob store) and
    ``table`` (a lake table and the version to pin) is given. ``digest`` names the content of a
    table where the stage knows it better than by version, so that equal content is found again.
    """

    kind: str
    name: str
    path: Path | None = None
    table: tuple[str, int] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])
    digest: str | None = None


class StageRun:
    """What a stage function gets to work with; one for each attempt."""

    def __init__(
        self, project: Project, run_id: str, workdir: Path, stop: threading.Event | None = None
    ) -> None:
        self.project = project
        self.id = run_id
        self.workdir = workdir
        self._stop = stop or threading.Event()
        self._reported = 0.0

    def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        """Say how far the work is; cheap enough for every item. Raises `Cancelled`."""
        self.check()
        now = time.monotonic()
        if now - self._reported >= PROGRESS_INTERVAL_S or done == total:
            self._reported = now
            self.project.ledger.report_progress(self.id, done, total, unit, note)

    def event(self, kind: str, **detail: Any) -> None:
        """Keep a small fact with the run, such as one point of a loss curve."""
        self.project.ledger.log_event(self.id, kind, detail)

    def check(self) -> None:
        """Raise `Cancelled` when somebody asked the run to stop."""
        if self._stop.is_set():
            raise Cancelled("Stopped on request.", do="Run the same command again to go on.")


StageFunction = Callable[..., Made | tuple[Made, ...]]


@dataclass(frozen=True)
class Stage(Generic[P]):
    """A declared stage; call it to run it here, or give it to `jobs` to run it durably."""

    name: str
    version: int
    params: type[P]
    function: StageFunction
    code: tuple[str, ...]
    fingerprint: Callable[[Project, P], str] | None = None

    def __call__(
        self, project: Project, params: P | None = None, **inputs: Artifact | Ref | str
    ) -> tuple[Artifact, ...]:
        """Run the stage in this process; its outputs, from memory where nothing changed."""
        plan = self.plan(project, params, **inputs)
        return remembered(project, plan) or execute(project, plan)

    def plan(
        self, project: Project, params: P | None = None, **inputs: Artifact | Ref | str
    ) -> Plan:
        """Pin the inputs and compute the memo key, without running anything."""
        chosen = params if params is not None else self._section(project)
        pinned = {
            name: value if isinstance(value, Artifact) else project.ledger.artifact(value)
            for name, value in inputs.items()
        }
        key = {
            "stage": self.name,
            "version": self.version,
            "code": code_digest(self.code),
            "inputs": {name: pinned[name].digest for name in sorted(pinned)},
            "names": {name: pinned[name].name for name in sorted(pinned)},
            "project": project.name,
            "params": chosen.model_dump(mode="json"),
            "fingerprint": self.fingerprint(project, chosen) if self.fingerprint else "",
        }
        memo_key = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return Plan(self.name, memo_key, chosen.model_dump(mode="json"), pinned)

    def _section(self, project: Project) -> P:
        """The settings section that is this stage's parameter record."""
        for section in type(project.settings).model_fields:
            value = getattr(project.settings, section)
            if isinstance(value, self.params):
                return value
        return self.params()


@dataclass(frozen=True)
class Plan:
    """One piece of work: a stage, its parameters, its pinned inputs and the key they hash to."""

    stage: str
    memo_key: str
    params: Mapping[str, Any]
    inputs: Mapping[str, Artifact]

    def workdir(self, project: Project) -> Path:
        """The scratch folder that every attempt at this work shares."""
        return project.state / "work" / f"{self.stage}-{self.memo_key[:16]}"


def stage(
    name: str,
    *,
    version: int,
    params: type[P],
    code: tuple[str, ...] = (),
    fingerprint: Callable[[Project, P], str] | None = None,
) -> Callable[[StageFunction], Stage[P]]:
    """Declare a stage.

    ``version`` is raised when the meaning of its output changes. ``code`` names further packages
    whose source the result depends on, besides the function's own. ``fingerprint`` describes inputs
    that are not artifacts, such as the files of a folder.
    """

    def declare(function: StageFunction) -> Stage[P]:
        own = function.__module__.rpartition(".")[0]
        declared = Stage(name, version, params, function, (own, *code), fingerprint)
        REGISTRY[name] = declared
        return declared

    return declare


def remembered(project: Project, plan: Plan) -> tuple[Artifact, ...] | None:
    """The outputs of a finished run with the plan's memo key, or None."""
    outputs = project.ledger.memo(plan.memo_key)
    return tuple(outputs) if outputs is not None else None


def execute(
    project: Project,
    plan: Plan,
    *,
    run_id: str | None = None,
    stop: threading.Event | None = None,
) -> tuple[Artifact, ...]:
    """Carry out ``plan`` in this process and commit its outputs.

    Raises what the stage raised (an `UndercroftError` as it is, anything else as `StageFailed`)
    after the failure has been recorded. `Cancelled` and a killed process record nothing: the run
    stays open for the next attempt.
    """
    declared = REGISTRY[plan.stage]
    workdir = plan.workdir(project)
    workdir.mkdir(parents=True, exist_ok=True)
    opened = project.ledger.begin_run(
        plan.stage, plan.memo_key, plan.params, list(plan.inputs.values()), run_id=run_id
    )
    run = StageRun(project, opened.id, workdir, stop)
    with Meter(project.settings.meter) as meter:
        try:
            params = declared.params.model_validate(plan.params)
            outcome = declared.function(run, params, **plan.inputs)
            made = outcome if isinstance(outcome, tuple) else (outcome,)
            stored = [_store(project, opened.id, item) for item in made]
        except (Cancelled, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            failure = _as_failure(plan.stage, error)
            project.ledger.fail_run(opened.id, str(failure), meter.footprint())
            _keep_traceback(workdir, error)
            raise failure from error
    artifacts = _commit(project, opened.id, stored, meter.footprint())
    shutil.rmtree(workdir, ignore_errors=True)
    return artifacts


def _store(project: Project, run_id: str, made: Made) -> MadeArtifact:
    """Put an output where it stays; still invisible, since no ledger row names it."""
    if made.path is not None:
        if "table" in made.meta:  # a selection can be read for as long as the rows it selects from
            project.lake.table(made.meta["table"]).tag(f"run-{run_id}", made.meta["version"])
        uri, digest, size = project.lake.blobs.put(made.path, made.kind, made.name)
        return MadeArtifact(made.kind, made.name, digest, uri, size, made.meta)
    assert made.table is not None
    name, version = made.table
    project.lake.table(name).tag(f"run-{run_id}", version)
    digest = made.digest or hashlib.sha256(f"{name}@{version}".encode()).hexdigest()
    size = int(made.meta.get("size_bytes", 0))
    return MadeArtifact(made.kind, made.name, digest, f"table:{name}@{version}", size, made.meta)


def _commit(
    project: Project, run_id: str, stored: list[MadeArtifact], footprint: Footprint
) -> tuple[Artifact, ...]:
    return tuple(project.ledger.finish_run(run_id, stored, footprint))


def _as_failure(name: str, error: BaseException) -> UndercroftError:
    if isinstance(error, UndercroftError):
        return error
    from undercroft.lake.faults import is_full

    if is_full(error):
        return StorageFull(
            f"The disk filled up while {name!r} was running.",
            "What was committed before is intact.",
            "Make room and run the same command again; it goes on where it stopped.",
        )
    return StageFailed(
        f"The stage {name!r} failed.",
        f"{type(error).__name__}: {error}".rstrip(".") + ".",
        "See the run with: undercroft runs --stage " + name,
    )


def _keep_traceback(workdir: Path, error: BaseException) -> None:
    try:
        text = "".join(traceback.format_exception(error))
        (workdir / "traceback.txt").write_text(text, encoding="utf-8")
    except OSError:
        pass  # a full disk must not hide the failure itself


@cache
def code_digest(packages: tuple[str, ...]) -> str:
    """SHA-256 over the sources of ``packages``: a changed program is a changed memo key."""
    digest = hashlib.sha256()
    for package in sorted(set(packages)):
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            continue
        origin = Path(spec.origin)
        files = [origin]
        if spec.submodule_search_locations is not None:
            files = sorted(origin.parent.rglob("*.py"))
        for file in files:
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
