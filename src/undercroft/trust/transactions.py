"""Transactions on the ledger's database: one kind for reading, one for writing.

SQLite lets one writer in at a time, and a transaction that reads first and writes later can fail
half-way when another got in between. So writers take the write lock at their beginning (BEGIN
IMMEDIATE, which is also what a plain ``engine.begin()`` does here), and only `reading` does not.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from undercroft.errors import BadConfig, Busy, Overloaded, StorageFull, Tampered, UndercroftError

READ_ONLY: Final = "undercroft_read_only"
"""Execution option of a connection whose transactions only read."""

_LOCK: Final = 0x756E6463  # "undc": the advisory lock of this schema's serialised writers
_DISK_FULL: Final = ("53100", "53200")  # Postgres: disk_full, out_of_memory
_TRY_AGAIN: Final = ("40001", "40P01", "55P03")  # serialisation failure, deadlock, lock timeout


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one snapshot (SQLite) or each statement's newest (Postgres).

    Raises the errors of `writing`.
    """
    with _clear_errors(), engine.connect().execution_options(**{READ_ONLY: True}) as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction: committed when the block ends, rolled back when it raises.

    Raises `Busy` when another process holds the database for too long, `StorageFull` when the disk
    is, and `Overloaded` when the database cannot be reached or asks to try again.
    """
    with _clear_errors(), engine.begin() as connection:
        yield connection


def serialise(connection: Connection) -> None:
    """Let no other serialised transaction proceed until this one ends.

    Versions of artifacts and places in the audit chain are "the last one plus one", so whoever
    assigns them must be alone. SQLite's writers are alone anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


@contextmanager
def _clear_errors() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise Overloaded(
            "The ledger has no free connection.", str(error), "Try again in a moment."
        ) from error
    except DBAPIError as error:
        if isinstance(error, IntegrityError | ProgrammingError | DataError):
            raise  # the caller's to understand, or our own mistake
        raise explain(error) from error


def explain(error: DBAPIError) -> UndercroftError:
    """The error to show a user for one that the database driver raised."""
    reason = str(error.orig).strip() or type(error.orig).__name__
    lowered, state = reason.lower(), _sqlstate(error)
    if "disk is full" in lowered or state in _DISK_FULL or f"errno {errno.ENOSPC}" in lowered:
        return StorageFull(
            "The ledger could not be written.", f"{reason}.", "Free some space and run again."
        )
    if "is locked" in lowered or "is busy" in lowered:
        return Busy(
            "Another process holds the ledger.",
            f"It did not let go within the time limit ({reason}).",
            "Wait for it to end, or see what runs with: undercroft status",
        )
    if "not a database" in lowered:
        return BadConfig(
            "The file that [store] ledger names is not a SQLite database.",
            f"{reason}.",
            "Name another file; this one was left as it is.",
        )
    if "malformed" in lowered or "corrupt" in lowered:
        return Tampered(
            "The ledger is damaged.", f"{reason}.", "Stop everything and restore its backup."
        )
    if state in _TRY_AGAIN:
        return Overloaded(
            "The ledger's database asks to try again.", f"{reason}.", "Run the command again."
        )
    return Overloaded(
        "The ledger's database cannot be used now.",
        f"{reason}.",
        "Check that it runs and that [store] ledger names it, then run again.",
    )


def _sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", "") or "")
