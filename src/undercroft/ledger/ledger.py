"""The ledger: artifacts, runs, lineage, aliases and decisions in one database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Engine, insert, select

from undercroft.ledger import artifacts as artifact_rows
from undercroft.ledger import lineage, runs, turns
from undercroft.ledger.artifacts import MadeArtifact
from undercroft.ledger.database import open_database
from undercroft.ledger.tables import artifacts, decisions, events, progress
from undercroft.ledger.tables import runs as run_table
from undercroft.records import Artifact, Decision, Footprint, Lineage, Progress, Ref, Run
from undercroft.trust.audit import ANCHOR, AuditLog, append
from undercroft.trust.plain import plain_json, plain_text
from undercroft.trust.transactions import now, reading, serialise, writing


class Ledger:
    """Who made what, from what, when.

    Open one with `open`; it may be shared between threads. Every method is one transaction, and
    every method may raise `Busy` (another process holds the database), `StorageFull` or
    `Overloaded` (the database cannot be reached).
    """

    def __init__(self, engine: Engine, audit: AuditLog | None = None) -> None:
        self.engine = engine
        self._audit = audit

    @classmethod
    def open(cls, url: str, trust: Path | None = None) -> Ledger:
        """Open the ledger at ``url``, made and migrated where need be; a few ms where not.

        ``trust`` is the folder that `trust.Trust.open` is given. With it, entries of the audit log
        are sealed as soon as they are committed; without, when somebody else next seals.
        Raises `BadConfig` for a URL that names no database and `BadInput` for a database written by
        a newer version.
        """
        engine = open_database(url)
        return cls(engine, AuditLog(engine, trust / ANCHOR) if trust else None)

    def close(self) -> None:
        """Close the connections to the database."""
        self.engine.dispose()

    @contextmanager
    def _audited(self) -> Iterator[Connection]:
        """A transaction that enters the audit log, whose head is signed when it has committed."""
        with writing(self.engine) as connection:
            serialise(connection)
            yield connection
        if self._audit is not None:
            self._audit.seal()

    # Artifacts

    def artifact(self, ref: Ref | str) -> Artifact:
        """The artifact that ``ref`` names: a version, an alias, or the newest.

        Raises `NotFound`, with the nearest names, and `BadRef`.
        """
        with reading(self.engine) as connection:
            return artifact_rows.from_row(artifact_rows.row_of(connection, _ref(ref)))

    def artifacts(
        self, kind: str | None = None, name: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[Artifact]:
        """A page of artifacts, newest first."""
        query = artifact_rows.newest_first(kind, name, limit, offset)
        with reading(self.engine) as connection:
            return [artifact_rows.from_row(row) for row in connection.execute(query)]

    def find_digest(self, digest: str) -> list[Artifact]:
        """The artifacts with this content, newest first."""
        query = select(artifacts).where(artifacts.c.digest == digest)
        with reading(self.engine) as connection:
            rows = connection.execute(query.order_by(artifacts.c.id.desc()))
            return [artifact_rows.from_row(row) for row in rows]

    def set_alias(self, ref: Ref | str, alias: str, actor: str) -> None:
        """Have ``kind:name@alias`` mean the artifact that ``ref`` names, from now on."""
        with self._audited() as connection:
            _name(connection, ref, alias, actor)

    def aliases(self, kind: str, name: str) -> dict[str, int]:
        """Each alias of ``kind:name`` and the version it means."""
        with reading(self.engine) as connection:
            return artifact_rows.aliases_of(connection, kind, name)

    # Runs

    def begin_run(
        self,
        stage: str,
        memo_key: str,
        params: Mapping[str, Any],
        inputs: Sequence[Artifact],
        run_id: str | None = None,
    ) -> Run:
        """Open a run with its inputs pinned.

        A run that is still marked running for the same ``memo_key`` was left by an attempt that
        died: it is taken over, under its own id, as the next attempt. So is a failed run whose
        ``run_id`` is given again. Raises `Busy` when ``run_id`` did other work or finished.
        """
        with writing(self.engine) as connection:
            serialise(connection)
            found = runs.begin(connection, stage, memo_key, params, inputs, run_id)
            return runs.from_rows(connection, [runs.row_of(connection, found)])[0]

    def finish_run(
        self,
        run_id: str,
        made: Sequence[MadeArtifact],
        footprint: Footprint,
        actor: str = "local",
    ) -> list[Artifact]:
        """Commit what a run made, with versions, lineage, its end and an audit entry, all or none.

        Every run makes new versions, even of content that is there already. Finishing again
        returns what was made the first time.
        """
        with self._audited() as connection:
            return runs.finish(connection, run_id, made, footprint, actor)

    def fail_run(
        self,
        run_id: str,
        error: str,
        footprint: Footprint,
        status: Literal["failed", "cancelled"] = "failed",
    ) -> None:
        """End a run that made nothing."""
        with writing(self.engine) as connection:
            runs.fail(connection, run_id, error, footprint, status)

    def run(self, run_id: str) -> Run:
        """One run; raises `NotFound` with the nearest ids."""
        with reading(self.engine) as connection:
            return runs.from_rows(connection, [runs.row_of(connection, run_id)])[0]

    def runs(
        self,
        stage: str | None = None,
        status: str | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> list[Run]:
        """A page of runs, the last begun first."""
        query = select(run_table).order_by(run_table.c.started_at.desc(), run_table.c.id)
        if stage is not None:
            query = query.where(run_table.c.stage == stage)
        if status is not None:
            query = query.where(run_table.c.status == status)
        with reading(self.engine) as connection:
            return runs.from_rows(connection, connection.execute(query.limit(limit).offset(offset)))

    def memo(self, memo_key: str) -> list[Artifact] | None:
        """What the newest finished run with this key made; None when there is none."""
        query = (
            select(run_table.c.id)
            .where(run_table.c.memo_key == memo_key, run_table.c.status == "finished")
            .order_by(run_table.c.finished_at.desc())
            .limit(1)
        )
        with reading(self.engine) as connection:
            run_id = connection.scalar(query)
            return None if run_id is None else runs.outputs(connection, run_id)

    def run_of(self, artifact: Artifact | Ref | str) -> Run:
        """The run that made ``artifact``."""
        found = artifact if isinstance(artifact, Artifact) else self.artifact(artifact)
        return self.run(found.run_id)

    # While it runs

    def report_progress(
        self, run_id: str, done: float, total: float | None, unit: str, note: str = ""
    ) -> None:
        """Say how far a run is; ``total`` is None when nobody can know."""
        with writing(self.engine) as connection:
            runs.report_progress(connection, run_id, done, total, unit, note)

    def progress(self, run_id: str) -> Progress | None:
        """What was last said of how far a run is."""
        with reading(self.engine) as connection:
            row = connection.execute(select(progress).where(progress.c.run_id == run_id)).first()
        return Progress(**row._mapping) if row else None

    def log_event(self, run_id: str, kind: str, detail: Mapping[str, Any]) -> None:
        """Keep something that happened in a run."""
        self.log_events(run_id, [(now(), kind, detail)])

    def log_events(
        self, run_id: str, happened: Sequence[tuple[datetime, str, Mapping[str, Any]]]
    ) -> None:
        """Keep what happened in a run, all or nothing: when, kind, detail; the oldest first."""
        rows = [
            {"run_id": run_id, "at": at, "kind": kind, "detail": plain_json(detail)}
            for at, kind, detail in happened
        ]
        if rows:
            with writing(self.engine) as connection:
                connection.execute(insert(events), rows)

    def events(
        self, run_id: str, kind: str | None = None
    ) -> list[tuple[datetime, str, dict[str, Any]]]:
        """What was logged of a run, oldest first: when, kind, detail."""
        query = select(events).where(events.c.run_id == run_id).order_by(events.c.id)
        if kind is not None:
            query = query.where(events.c.kind == kind)
        with reading(self.engine) as connection:
            return [(row.at, row.kind, row.detail) for row in connection.execute(query)]

    # Decisions

    def decide(  # noqa: PLR0917 - the fields of a Decision
        self,
        kind: str,
        subject: str,
        verdict: str,
        reason: str,
        evidence: Mapping[str, Any],
        actor: str,
    ) -> Decision:
        """Record why something was released, refused, rolled back or erased, and by whom."""
        with self._audited() as connection:
            return _decide(connection, kind, subject, verdict, reason, evidence, actor)

    def take_turn(
        self,
        project: str,
        trial: str,
        state: bytes,
        gives_way: Callable[[bytes], bool],
        *,
        alias: tuple[str, str] | None,
        decision: Mapping[str, Any],
    ) -> bytes:
        """Write down that ``trial`` of ``project`` is in ``state`` now, with the ``decision`` (the
        arguments of `decide`) and the ``alias`` (a ref, and what it is called) that go with it.

        Returns the state that stands: another one where that does not give way. Of two who say the
        same, the first has the decision.
        """
        with self._audited() as connection:
            instead = turns.replace(connection, project, trial, state, gives_way)
            if instead is None:
                if alias is not None:
                    _name(connection, *alias, str(decision["actor"]))
                _decide(connection, **decision)
        return state if instead is None else instead

    def trial(self, project: str) -> bytes | None:
        """The last trial of ``project``, as of its last turn."""
        with reading(self.engine) as connection:
            return turns.state_of(connection, project)

    def decisions(
        self,
        subject: str | None = None,
        kind: str | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> list[Decision]:
        """A page of decisions, newest first."""
        query = select(decisions).order_by(decisions.c.id.desc()).limit(limit).offset(offset)
        if subject is not None:
            query = query.where(decisions.c.subject == subject)
        if kind is not None:
            query = query.where(decisions.c.kind == kind)
        with reading(self.engine) as connection:
            return [Decision(**row._mapping) for row in connection.execute(query)]

    # Lineage

    def lineage(
        self,
        ref: Ref | str,
        direction: lineage.Direction = "both",
        depth: int | None = None,
    ) -> Lineage:
        """What ``ref`` was made from ("up"), what was made of it ("down"), or both.

        ``depth`` counts runs away from it; None is all the way.
        """
        with reading(self.engine) as connection:
            row = artifact_rows.row_of(connection, _ref(ref))
            return lineage.around(connection, row, direction, depth)


def _ref(ref: Ref | str) -> Ref:
    return Ref.parse(ref) if isinstance(ref, str) else ref


def _name(connection: Connection, ref: Ref | str, alias: str, actor: str) -> None:
    row = artifact_rows.row_of(connection, _ref(ref))
    artifact_rows.set_alias(connection, row, alias, actor)
    target = str(Ref(row.kind, row.name, row.version))
    append(connection, actor, "alias.set", target, {"alias": alias})


def _decide(  # noqa: PLR0917 - the fields of a Decision
    connection: Connection,
    kind: str,
    subject: str,
    verdict: str,
    reason: str,
    evidence: Mapping[str, Any],
    actor: str,
) -> Decision:
    values = {
        "kind": kind,
        "subject": subject,
        "verdict": verdict,
        "reason": plain_text(reason),
        "evidence": plain_json(evidence),
        "actor": actor,
        "at": now(),
    }
    new = connection.execute(insert(decisions).values(**values).returning(decisions.c.id))
    number = int(new.scalar_one())
    detail = {"decision": number, "verdict": verdict}
    append(connection, actor, f"decision.{kind}", subject, detail)
    row = connection.execute(select(decisions).where(decisions.c.id == number)).one()
    return Decision(**row._mapping)
