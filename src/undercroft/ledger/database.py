"""Opening the ledger's database: SQLite or Postgres, at the current schema."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Engine,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import ConnectionPoolEntry

from undercroft.errors import BadConfig, BadInput, MissingExtra
from undercroft.trust.transactions import READ_ONLY, reading, serialise, writing

HEAD: Final = "0003"
"""The schema revision this code speaks: the newest one in ``migrations/versions``. It stands here
so that a ledger that is current opens without importing Alembic (0.2 s)."""

MIGRATIONS: Final = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_S: Final = 30.0


def open_database(url: str) -> Engine:
    """An engine on the database at ``url``, created and migrated to `HEAD` where need be.

    Raises `BadConfig` for a URL that names no database this can use, `MissingExtra` when the
    Postgres driver is not installed, `BadInput` when the database was written by newer code, and
    the errors of `trust.transactions.writing`.
    """
    engine = _engine(_parse(url))
    try:
        if stored_revision(engine) != HEAD:
            _migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def stored_revision(engine: Engine) -> str | None:
    """The schema revision of the database, None for one that has no ledger yet."""
    with reading(engine) as connection:
        return _revision(connection)


def _revision(connection: Connection) -> str | None:
    if connection.dialect.name == "sqlite":
        there = connection.exec_driver_sql(
            "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
        ).first()
    else:
        there = connection.execute(
            text("SELECT 1 WHERE to_regclass('alembic_version') IS NOT NULL")
        ).first()
    if there is None:
        return None
    stored: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return stored


def _migrate(engine: Engine) -> None:
    """Bring the schema to `HEAD` in one transaction, alone: others that open it wait and find it
    done."""
    with writing(engine) as connection:
        serialise(connection)
        stored = _revision(connection)
        if stored == HEAD:
            return
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise BadInput(
                f"This ledger has schema revision {stored!r}, which this version does not know.",
                "It was probably written by a newer Undercroft.",
                "Upgrade with: pip install --upgrade undercroft",
            ) from error


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise _bad_url(url) from None
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite" or parsed.database in (None, "", ":memory:"):
        raise _bad_url(url)
    return parsed


def _bad_url(url: str) -> BadConfig:
    return BadConfig(
        f"[store] ledger = {url!r} names no database.",
        "The ledger is kept in a SQLite file or in Postgres.",
        "Write sqlite:////absolute/path.db or postgresql://user@host/database.",
    )


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        return _sqlite(url)
    try:
        # Connections are tested before use: a server that was restarted costs no failed request.
        # READ COMMITTED, whatever the server's default: who waited for `serialise` must see what
        # the one before committed.
        return create_engine(url, pool_pre_ping=True, isolation_level="READ COMMITTED")
    except ModuleNotFoundError:
        raise MissingExtra("psycopg", "postgres") from None
    except NoSuchModuleError:
        raise _bad_url(url.render_as_string()) from None


def _sqlite(url: URL) -> Engine:
    Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, pool_timeout=60)

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # BEGIN is ours to say
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        # FULL, not WAL's customary NORMAL: after a power cut the database must still hold the
        # entry that the audit's anchor outside it was signed for.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA secure_delete = ON")  # a shredded key leaves no bytes in the file
        _enter_wal(cursor)
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get(READ_ONLY, False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _enter_wal(cursor: Any) -> None:
    """Switch to the write-ahead log, which the file then remembers.

    The switch does not wait for a lock as statements do, so where several processes open a new
    file at once all but one have to try again.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
