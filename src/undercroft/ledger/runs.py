"""Runs in the database: begun, finished with everything they made, or failed."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from undercroft.errors import Busy, NotFound
from undercroft.ledger import artifacts as artifact_rows
from undercroft.ledger.artifacts import MadeArtifact
from undercroft.ledger.tables import artifacts, progress, run_inputs, runs
from undercroft.records import Artifact, Footprint, Ref, Run
from undercroft.trust.audit import append
from undercroft.trust.plain import plain_json, plain_text
from undercroft.trust.transactions import now


def begin(  # noqa: PLR0917 - the fields of a run
    connection: Connection,
    stage: str,
    memo_key: str,
    params: Mapping[str, Any],
    inputs: Sequence[Artifact],
    run_id: str | None,
) -> str:
    """Open a run and return its id: a new one, or one of a dead attempt at the same work.

    The transaction must be serialised. Raises `Busy` when ``run_id`` names a run that finished or
    did other work, and `NotFound` when an input is not in the ledger.
    """
    same_work = (runs.c.memo_key == memo_key) & (runs.c.status == "running")
    earlier = connection.execute(select(runs).where(same_work)).first()
    if earlier is None and run_id is not None:
        earlier = connection.execute(select(runs).where(runs.c.id == run_id)).first()
    if earlier is not None:
        if earlier.memo_key != memo_key or earlier.status == "finished":
            raise Busy(
                f"The run {earlier.id} exists already.",
                f"It is {earlier.status}, and a run is one piece of work.",
                "Begin a run without an id, or with another.",
            )
        again = update(runs).where(runs.c.id == earlier.id)
        connection.execute(
            again.values(
                status="running",
                attempt=earlier.attempt + 1,
                params=plain_json(params),
                started_at=now(),
                finished_at=None,
                error=None,
            )
        )
        # What the dead attempt said of itself holds no longer. Its inputs had the same content as
        # these (they share the memo key), but perhaps other versions.
        connection.execute(delete(progress).where(progress.c.run_id == earlier.id))
        connection.execute(delete(run_inputs).where(run_inputs.c.run_id == earlier.id))
        _pin(connection, earlier.id, inputs)
        return str(earlier.id)
    new_id = run_id or f"{stage}-{secrets.token_hex(6)}"
    connection.execute(
        insert(runs).values(
            id=new_id,
            stage=stage,
            status="running",
            memo_key=memo_key,
            params=plain_json(params),
            attempt=1,
            started_at=now(),
        )
    )
    _pin(connection, new_id, inputs)
    return new_id


def _pin(connection: Connection, run_id: str, inputs: Sequence[Artifact]) -> None:
    for position, artifact in enumerate(inputs):
        row = artifact_rows.row_of(connection, artifact.ref)
        pinned = {"run_id": run_id, "position": position, "artifact_id": row.id}
        connection.execute(insert(run_inputs).values(**pinned))


def finish(
    connection: Connection,
    run_id: str,
    made: Sequence[MadeArtifact],
    footprint: Footprint,
    actor: str,
) -> list[Artifact]:
    """Record what a run made: versions, artifacts, its end and one audit entry.

    All in the caller's transaction, which must be serialised. A run that finished before, as when
    an attempt that was thought dead comes back, returns what it made then. Raises `NotFound` for an
    unknown run and `Busy` for one that failed or was cancelled.
    """
    row = row_of(connection, run_id)
    if row.status == "finished":
        return outputs(connection, run_id)
    if row.status != "running":
        raise Busy(
            f"The run {run_id} cannot finish.", f"It is {row.status}.", "Begin a new run for it."
        )
    added = artifact_rows.add(connection, run_id, made)
    _end(connection, run_id, "finished", None, footprint)
    detail = {
        "stage": row.stage,
        "attempt": row.attempt,
        "inputs": [str(ref) for ref in _inputs(connection, [run_id]).get(run_id, [])],
        "outputs": {str(artifact.ref): artifact.digest for artifact in added},
    }
    append(connection, actor, "run.finished", f"run:{run_id}", detail)
    return added


def fail(
    connection: Connection, run_id: str, error: str, footprint: Footprint, status: str
) -> None:
    """End a run that made nothing; one that finished stays finished."""
    if row_of(connection, run_id).status != "finished":
        _end(connection, run_id, status, plain_text(error), footprint)


def _end(
    connection: Connection, run_id: str, status: str, error: str | None, footprint: Footprint
) -> None:
    connection.execute(
        update(runs)
        .where(runs.c.id == run_id)
        .values(
            status=status,
            finished_at=now(),
            error=error,
            wall_s=footprint.wall_s,
            cpu_s=footprint.cpu_s,
            peak_rss_bytes=footprint.peak_rss_bytes,
            energy_wh=footprint.energy_wh,
            energy_is=footprint.energy_is,
            money=footprint.money,
        )
    )


def row_of(connection: Connection, run_id: str) -> Row[Any]:
    """The row of a run; raises `NotFound` with the nearest ids."""
    row = connection.execute(select(runs).where(runs.c.id == run_id)).first()
    if row is None:
        recent = select(runs.c.id).order_by(runs.c.started_at.desc()).limit(1000)
        known = connection.scalars(recent).all()
        raise NotFound(f"There is no run {run_id!r}.", run_id, known, "See: undercroft runs")
    return row


def outputs(connection: Connection, run_id: str) -> list[Artifact]:
    """The artifacts that a run made, in the order it named them."""
    query = select(artifacts).where(artifacts.c.run_id == run_id).order_by(artifacts.c.id)
    return [artifact_rows.from_row(row) for row in connection.execute(query)]


def from_rows(connection: Connection, rows: Iterable[Row[Any]]) -> list[Run]:
    """The records of rows of ``runs``, in two queries for all of them together."""
    found = list(rows)
    ids = [row.id for row in found]
    took, made = _inputs(connection, ids), _outputs(connection, ids)
    return [
        Run(
            id=row.id,
            stage=row.stage,
            status=row.status,
            memo_key=row.memo_key,
            params=row.params,
            inputs=tuple(took.get(row.id, ())),
            outputs=tuple(made.get(row.id, ())),
            started_at=row.started_at,
            finished_at=row.finished_at,
            footprint=Footprint(
                row.wall_s,
                row.cpu_s,
                row.peak_rss_bytes,
                row.energy_wh,
                row.energy_is,
                row.money,
            ),
            error=row.error,
            attempt=row.attempt,
        )
        for row in found
    ]


def _inputs(connection: Connection, ids: Sequence[str]) -> dict[str, list[Ref]]:
    query = (
        select(run_inputs.c.run_id, artifacts.c.kind, artifacts.c.name, artifacts.c.version)
        .join(artifacts, artifacts.c.id == run_inputs.c.artifact_id)
        .where(run_inputs.c.run_id.in_(ids))
        .order_by(run_inputs.c.position)
    )
    return _refs_by_run(connection.execute(query))


def _outputs(connection: Connection, ids: Sequence[str]) -> dict[str, list[Ref]]:
    columns = (artifacts.c.run_id, artifacts.c.kind, artifacts.c.name, artifacts.c.version)
    query = select(*columns).where(artifacts.c.run_id.in_(ids)).order_by(artifacts.c.id)
    return _refs_by_run(connection.execute(query))


def _refs_by_run(rows: Iterable[Row[Any]]) -> dict[str, list[Ref]]:
    refs: dict[str, list[Ref]] = {}
    for row in rows:
        refs.setdefault(row.run_id, []).append(Ref(row.kind, row.name, row.version))
    return refs


def report_progress(  # noqa: PLR0917 - the fields of a Progress
    connection: Connection, run_id: str, done: float, total: float | None, unit: str, note: str
) -> None:
    """Say how far a run is, over what was said before."""
    values = {
        "done": done,
        "total": total,
        "unit": unit,
        "note": plain_text(note),
        "updated_at": now(),
    }
    changed = connection.execute(update(progress).where(progress.c.run_id == run_id).values(values))
    if not changed.rowcount:
        connection.execute(insert(progress).values(run_id=run_id, **values))
