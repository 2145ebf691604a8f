"""The trial of a project and what its gateways saw of it, for all of them.

Outcomes are a log: whoever writes is alone, so places have no gaps and are seen in their order, and
every reader counts the same things in the same order. A new trial's first turn deletes the log of
the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Engine, delete, func, insert, select

from undercroft.ledger.tables import trial_outcomes as outcomes
from undercroft.ledger.tables import trials
from undercroft.trust.transactions import reading, serialise, writing


class Line(NamedTuple):
    """A batch of outcomes at its place in the log."""

    place: int
    batch: bytes


def state_of(connection: Connection, project: str) -> bytes | None:
    """The trial as of the last turn."""
    found: bytes | None = connection.scalar(
        select(trials.c.state).where(trials.c.project == project)
    )
    return found


def replace(
    connection: Connection,
    project: str,
    trial: str,
    state: bytes,
    gives_way: Callable[[bytes], bool],
) -> bytes | None:
    """Put ``state`` in the place of what gives way to it; what stands instead, if it does not."""
    row = connection.execute(select(trials).where(trials.c.project == project)).first()
    if row is not None and not gives_way(row.state):
        return bytes(row.state)
    if row is not None:
        connection.execute(delete(trials).where(trials.c.project == project))
        if row.id != trial:
            connection.execute(delete(outcomes).where(outcomes.c.trial == row.id))
    connection.execute(insert(trials).values(project=project, id=trial, state=state))
    return None


def append(engine: Engine, trial: str, gateway: str, batch: bytes) -> None:
    """Add ``batch`` to the log of ``trial``."""
    with writing(engine) as connection:
        serialise(connection)
        last = connection.scalar(
            select(func.max(outcomes.c.place)).where(outcomes.c.trial == trial)
        )
        connection.execute(
            insert(outcomes).values(
                trial=trial, place=(last or 0) + 1, gateway=gateway, batch=batch
            )
        )


def after(engine: Engine, trial: str, place: int) -> Sequence[Line]:
    """What was added to the log of ``trial`` after ``place``, in order."""
    wanted = (
        select(outcomes.c.place, outcomes.c.batch)
        .where(outcomes.c.trial == trial, outcomes.c.place > place)
        .order_by(outcomes.c.place)
    )
    with reading(engine) as connection:
        return [Line(row.place, row.batch) for row in connection.execute(wanted)]
