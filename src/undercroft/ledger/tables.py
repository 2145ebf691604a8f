"""The tables of the ledger. A change here needs a revision in ``migrations/versions``.

Artifacts and runs form the lineage graph: a run points to its inputs through ``run_inputs``, an
artifact to the run that made it through ``artifacts.run_id``.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC; SQLite keeps no time zone, so it is taken off and put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData()

# SQLite numbers rows by itself only where the key is exactly INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("stage", Text, nullable=False),
    Column("status", String(20), nullable=False),
    Column("memo_key", Text, nullable=False),
    Column("params", JSON, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False, index=True),
    Column("finished_at", UtcDateTime),
    Column("error", Text),
    Column("wall_s", Float, nullable=False, server_default="0"),
    Column("cpu_s", Float, nullable=False, server_default="0"),
    Column("peak_rss_bytes", BigInteger, nullable=False, server_default="0"),
    Column("energy_wh", Float, nullable=False, server_default="0"),
    Column("energy_is", String(20), nullable=False, server_default="estimated"),
    Column("money", Float, nullable=False, server_default="0"),
    Index("runs_memo", "memo_key", "status"),
    Index("runs_stage", "stage", "started_at"),
)
Index(
    "runs_one_running",
    runs.c.memo_key,
    unique=True,
    sqlite_where=text("status = 'running'"),
    postgresql_where=text("status = 'running'"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("digest", String(128), nullable=False, index=True),
    Column("uri", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False, index=True),
    Column("meta", JSON, nullable=False),
    UniqueConstraint("kind", "name", "version", name="artifacts_ref"),
)

run_inputs = Table(
    "run_inputs",
    metadata,
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("artifact_id", ForeignKey("artifacts.id"), nullable=False, index=True),
)

aliases = Table(
    "aliases",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("alias", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("actor", Text, nullable=False),
    Column("set_at", UtcDateTime, nullable=False),
    ForeignKeyConstraint(
        ["kind", "name", "version"],
        ["artifacts.kind", "artifacts.name", "artifacts.version"],
        name="aliases_artifact",
    ),
)

progress = Table(
    "progress",
    metadata,
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("done", Float, nullable=False),
    Column("total", Float),
    Column("unit", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", JSON, nullable=False),
    Index("events_run", "run_id", "kind", "id"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False, index=True),
    Column("verdict", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("actor", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

# What gateways of one project share (`serve.sharing`). ``until`` is seconds since 1970.

budget_leases = Table(
    "budget_leases",
    metadata,
    Column("project", Text, primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("account", Text, primary_key=True),
    Column("gateway", String(32), primary_key=True),
    Column("used", Float(53), nullable=False),
    Column("held", Float(53), nullable=False),
    Column("until", Float(53), nullable=False),
)

trials = Table(
    "trials",
    metadata,
    Column("project", Text, primary_key=True),
    Column("id", Text, nullable=False),
    Column("state", LargeBinary, nullable=False),
)

trial_outcomes = Table(
    "trial_outcomes",
    metadata,
    Column("trial", Text, primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("gateway", String(32), nullable=False),
    Column("batch", LargeBinary, nullable=False),
)
