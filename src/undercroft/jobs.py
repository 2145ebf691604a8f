"""The durable queues that stages run on.

Each stage has its own queue with its own concurrency, so one that fails or has no worker delays
its own items and nothing else. DBOS keeps the queues; a job that a dead worker left behind is
taken up by the next worker that starts. The ledger, not the queue, knows what was made.
"""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from undercroft import errors
from undercroft.errors import Cancelled, NotFound, StageFailed, UndercroftError
from undercroft.processes import Child, read_announcement
from undercroft.project import Project
from undercroft.records import Artifact, Progress
from undercroft.stage import REGISTRY, Plan, execute, remembered

WORKFLOW = "undercroft.stage"
APPLICATION_VERSION = "1"  # the memo key already tells programs apart
POLL_S = 0.25
QUEUE_POLL_S = 0.5  # ten queues asked ten times a second cost a quarter of a core; so, a twentieth
WORKER_READY_S = 60.0
WORKER_RESTARTS = 3
MAX_WORKERS = 64
# Stages run in threads of the worker. Threads that spin while they wait for each other are many
# times slower as soon as anything else wants a core, and a laptop always runs something else. glibc
# gives the memory of a thread's tensors back after every use and pays for its pages again: training
# keeps it, and takes a fifth more tokens a second (both in docs/lab-book.md).
WORKER_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "0",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
}
STOP_GRACE_S = 5.0

Watch = Callable[[Progress | None], None]


class Runner(Protocol):
    """How a plan is carried out."""

    def run(self, project: Project, plan: Plan, watch: Watch) -> tuple[Artifact, ...]: ...


class Watcher(Protocol):
    """Whoever wants to see work go: a terminal, a log, a test.

    ``number`` is the place of a step on the main road; 0 for one that is not on it.
    """

    def started(self, step: str, number: int) -> None: ...
    def progressed(self, step: str, progress: Progress | None) -> None: ...
    def finished(self, step: str, seconds: float, reused: bool) -> None: ...


def carry_out(
    project: Project,
    plan: Callable[[], Plan],
    runner: Runner,
    watcher: Watcher,
    *,
    step: str,
    number: int = 0,
) -> tuple[Artifact, ...]:
    """What ``plan`` makes, from memory where that was made before; ``watcher`` sees it go.

    Planning is part of the step, since it looks at the world from outside.
    """
    started = time.monotonic()
    watcher.started(step, number)
    planned = plan()
    found = remembered(project, planned)
    is_reused = found is not None
    if found is None:
        found = runner.run(project, planned, lambda told: watcher.progressed(step, told))
    watcher.finished(step, time.monotonic() - started, is_reused)
    return found


class Inline:
    """Carries plans out in this process; for scripts and tests."""

    def run(self, project: Project, plan: Plan, watch: Watch) -> tuple[Artifact, ...]:
        watch(None)
        return execute(project, plan)


class Queued:
    """Puts plans on their stage's queue and waits for a worker; starts one when asked to.

    With ``own_worker`` a worker process is started before the first job and restarted when it
    dies. The job itself survives us: run the same plan again and it is joined, not repeated.
    """

    def __init__(
        self, own_worker: bool = True, command: Sequence[str] = ("-m", "undercroft.cli")
    ) -> None:
        self._own_worker = own_worker
        self._command = command
        self._worker: Child | None = None
        self._restarts = 0
        self._starting = threading.Lock()

    def run(self, project: Project, plan: Plan, watch: Watch) -> tuple[Artifact, ...]:
        """The plan's outputs. Raises what the stage raised, on whichever process it ran."""
        if self._own_worker:
            self._ensure_worker(project)
        client = _client(project)
        try:
            run_id = _job_id(project, plan)
            handle = client.enqueue(
                {
                    "workflow_name": WORKFLOW,
                    "queue_name": plan.stage,
                    "workflow_id": run_id,
                    "app_version": APPLICATION_VERSION,
                },
                _as_job(plan),
            )
            while handle.get_status().status in ("ENQUEUED", "PENDING", "DELAYED"):
                watch(project.ledger.progress(run_id))
                if self._own_worker:
                    self._ensure_worker(project)
                time.sleep(POLL_S)
            outcome: dict[str, Any] = handle.get_result(polling_interval_sec=POLL_S)
        finally:
            client.destroy()
        if "failed" in outcome:
            raise _failure(outcome["failed"])
        return tuple(project.ledger.artifact(ref) for ref in outcome["outputs"])

    def _ensure_worker(self, project: Project) -> None:
        with self._starting:
            self._start_worker(project)

    def _start_worker(self, project: Project) -> None:
        if self._worker is not None and self._worker.alive():
            return
        if self._worker is not None:
            self._restarts += 1
            if self._restarts > WORKER_RESTARTS:
                raise self._worker.failure("The worker process keeps dying.")
        log = project.state / "logs" / "worker.log"
        arguments = [*self._command, "--project", str(project.root), "worker"]
        self._worker = Child.start("worker", arguments, log, WORKER_ENVIRONMENT)
        self._worker.wait_for(announcement(project, self._worker.process.pid), WORKER_READY_S)

    def close(self) -> None:
        """Stop the worker; what it was doing goes on at the next start."""
        if self._worker is not None:
            self._worker.stop()
            self._worker = None


def announcement(project: Project, pid: int) -> Path:
    """Where the worker with this ``pid`` says that it is ready."""
    return project.state / "workers" / f"{pid}.json"


def workers(project: Project) -> list[int]:
    """The pids of the workers that are alive on this machine; forgets the dead ones."""
    alive: list[int] = []
    for path in (project.state / "workers").glob("*.json"):
        if read_announcement(path) is None:
            path.unlink(missing_ok=True)
        else:
            alive.append(int(path.stem))
    return sorted(alive)


def work(
    project: Project,
    stop: threading.Event,
    ready: Callable[[], None],
    stages: tuple[str, ...] = (),
) -> None:
    """Be a worker for the queues of ``stages`` (all when empty) until ``stop`` is set."""
    from dbos import DBOS

    chosen = stages or tuple(REGISTRY)
    for name in chosen:
        if name not in REGISTRY:
            raise NotFound(
                f"There is no stage {name!r}.", name, REGISTRY, f"Stages: {', '.join(REGISTRY)}."
            )
    in_hand: set[str] = set()
    with _worker_slot(project) as (own, abandoned):
        DBOS(config=_dbos_config(project, own))

        @DBOS.workflow(name=WORKFLOW)
        def run_stage(job: dict[str, Any]) -> dict[str, Any]:
            return _carry_out(project, str(DBOS.workflow_id), job, stop, in_hand)

        DBOS.listen_queues(list(chosen))
        DBOS.launch()
        for name in chosen:
            DBOS.register_queue(name, global_concurrency=1, polling_interval_sec=QUEUE_POLL_S)
        DBOS._recover_pending_workflows(list(abandoned))
        ready()
        while not stop.wait(1.0):
            pass
        # A stage that was asked to stop leaves its checkpoint and raises Cancelled; its job stays
        # pending, exactly as if the process had been killed, and the next worker takes it up.
        deadline = time.monotonic() + STOP_GRACE_S
        while in_hand and time.monotonic() < deadline:
            time.sleep(0.05)
        os._exit(0)


def _carry_out(
    project: Project,
    run_id: str,
    job: Mapping[str, Any],
    stop: threading.Event,
    in_hand: set[str],
) -> dict[str, Any]:
    """One job, as plain data in and out, since both sides of it outlive this process."""
    inputs = {name: project.ledger.artifact(ref) for name, ref in job["inputs"].items()}
    plan = Plan(job["stage"], job["memo_key"], job["params"], inputs)
    in_hand.add(run_id)
    try:
        outputs = remembered(project, plan) or execute(project, plan, run_id=run_id, stop=stop)
    except Cancelled:
        in_hand.discard(run_id)
        threading.Event().wait()  # the process ends under us, leaving the job pending
        raise
    except UndercroftError as failure:
        in_hand.discard(run_id)
        return {"failed": failure.as_dict()}
    in_hand.discard(run_id)
    return {"outputs": [str(artifact.ref) for artifact in outputs]}


def _as_job(plan: Plan) -> dict[str, Any]:
    return {
        "stage": plan.stage,
        "memo_key": plan.memo_key,
        "params": dict(plan.params),
        "inputs": {name: str(artifact.ref) for name, artifact in plan.inputs.items()},
    }


def _job_id(project: Project, plan: Plan) -> str:
    """The same id for the same work, until an attempt at it has failed for good."""
    runs = project.ledger.runs(stage=plan.stage, status="failed", limit=1000)
    failed = sum(run.memo_key == plan.memo_key for run in runs)
    return f"{plan.stage}-{plan.memo_key[:12]}-{failed + 1}"


def _failure(facts: Mapping[str, str]) -> UndercroftError:
    """The error that a stage raised on a worker, rebuilt from its plain form."""
    for kind in vars(errors).values():
        if not (isinstance(kind, type) and issubclass(kind, UndercroftError)):
            continue
        if kind.code == facts["code"]:
            failure = kind.__new__(kind)
            UndercroftError.__init__(failure, facts["what"], facts["why"], facts["do"])
            return failure
    return StageFailed(facts["what"], facts["why"], facts["do"])


def _dbos_config(project: Project, executor: str) -> Any:
    return {
        "name": "undercroft",
        "system_database_url": project.jobs_url,
        "executor_id": executor,
        "application_version": APPLICATION_VERSION,
        "log_level": "ERROR",
    }


def _client(project: Project) -> Any:
    from dbos import DBOSClient

    return DBOSClient(system_database_url=project.jobs_url)


@contextmanager
def _worker_slot(project: Project) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Hold a free worker slot; gives its executor id and those of slots nobody holds any more.

    A slot is a locked file: the lock goes with the process, however that ends.
    """
    folder = project.state / "workers"
    folder.mkdir(exist_ok=True)
    host = socket.gethostname()
    abandoned: list[str] = []
    own: tuple[str, int] | None = None
    for number in range(MAX_WORKERS):
        path = folder / f"{number}.lock"
        existed = path.exists()
        if not existed and own is not None:
            break
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            continue
        if own is None:
            own = (f"{host}-{number}", handle)
        else:
            abandoned.append(f"{host}-{number}")
            os.close(handle)
    if own is None:
        raise errors.Busy(f"{MAX_WORKERS} workers already run here.", do="Stop one of them.")
    try:
        yield own[0], tuple(abandoned)
    finally:
        os.close(own[1])


@contextmanager
def only_one(path: Path, what: str) -> Iterator[None]:
    """Hold a lock file while the block runs. Raises `Busy` when another process holds it."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise errors.Busy(
            f"{what} is already up.",
            "One process at a time works on a project.",
            "See it with: undercroft status   (end it with: undercroft stop)",
        ) from None
    try:
        yield
    finally:
        os.close(handle)
