"""The audit log: who did what to what, in a chain of hashes whose tampering shows.

Every entry holds the SHA-256 of itself and of the entry before it, so that nothing inside the chain
can change or vanish unnoticed. A chain alone cannot show that its end was cut off, or that all of
it was written anew; so its head (sequence number and hash) is signed with an Ed25519 key and kept
in the ``anchor`` file outside the database. Whoever can write both the database and the key file
can still forge everything: keep a copy of the anchor on another machine where that matters.

Entries should name things by ref or id. They are never deleted, so no personal data belongs here.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, func, insert, select

from undercroft.errors import Tampered, UndercroftError
from undercroft.trust.anchor import GENESIS, Anchor, Head
from undercroft.trust.plain import plain_json, plain_text
from undercroft.trust.tables import audit
from undercroft.trust.transactions import now, reading, serialise, writing

log = logging.getLogger(__name__)

ANCHOR: Final = "audit.head"
"""What the signed head's file is called in a project's trust folder."""

_BATCH: Final = 2000  # entries read at a time while verifying


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the log."""

    seq: int
    at: datetime
    actor: str
    action: str
    target: str
    detail: Mapping[str, Any]
    hash: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What `AuditLog.verify` found.

    ``unsealed`` entries are newer than the signed head: their chain holds, but were they removed,
    nothing would show it. ``first_bad`` is the sequence number at which the log stops being what
    was written, None where the log itself holds (``problem`` may then be about the anchor).
    """

    ok: bool
    entries: int
    sealed_seq: int
    unsealed: int
    problem: str = ""
    first_bad: int | None = None

    def check(self) -> None:
        """Raise `Tampered` unless the log is what was written."""
        if not self.ok:
            raise Tampered(
                "The audit log is not what was written.",
                self.problem,
                "Keep a copy of the database and of the trust folder, and compare with a backup.",
            )


class AuditLog:
    """The audit log in the database of ``engine``, its signed head in the file ``anchor``.

    Opening makes the anchor and its key where neither exists; over a log that has entries already
    (a second machine on the same database, a lost folder) that is itself entered in the log.
    """

    def __init__(self, engine: Engine, anchor: Path) -> None:
        self._engine = engine
        self._anchor = Anchor(anchor)
        if self._anchor.open(lambda: self.count() == 0) and self.count() > 0:
            with writing(engine) as connection:
                key = self._anchor.public_key
                append(connection, "local", "audit.anchored", "audit", {"public_key": key})
            self.seal()

    @staticmethod
    def append(
        connection: Connection,
        actor: str,
        action: str,
        target: str,
        detail: Mapping[str, Any] | None = None,
    ) -> int:
        """Add an entry inside the caller's transaction and return its sequence number.

        Call `seal` when that transaction has committed.
        """
        return append(connection, actor, action, target, detail)

    def seal(self) -> bool:
        """Sign the newest entry as the head of the chain; call it after the commit.

        Only entries that follow from the head signed before are taken up, so that a cut or
        rewritten chain is not made good by the next entry. False: the head was left as it stands,
        and the log says why. That undoes nothing of what was committed, so nothing is raised: the
        next call covers it, or `verify` shows what is wrong.
        """
        try:
            with self._anchor.locked():
                problem = self._advance()
        except (OSError, UndercroftError) as error:
            problem = str(error)
        if problem:
            log.warning("The audit log was not sealed. %s See: undercroft audit verify", problem)
        return not problem

    def _advance(self) -> str:
        """Move the signed head to the newest entry; what keeps it from that, or nothing."""
        head = self._anchor.read()
        if head is None:
            return f"The signed head in {self._anchor.path} was edited or removed."
        with reading(self._engine) as connection:
            newest, problem, _ = _walk(connection, head)
        if not problem and newest.seq > head.seq:
            self._anchor.write(newest)
        return problem

    def entries(self, limit: int = 100, offset: int = 0) -> list[AuditEntry]:
        """Entries, newest first."""
        query = select(audit).order_by(audit.c.seq.desc()).limit(limit).offset(offset)
        with reading(self._engine) as connection:
            return [_entry(row) for row in connection.execute(query)]

    def count(self) -> int:
        """How many entries there are."""
        with reading(self._engine) as connection:
            return int(connection.scalar(select(func.count()).select_from(audit)) or 0)

    def verify(self) -> AuditReport:
        """What `inspect` finds; raises `Tampered` unless the log is what was written."""
        report = self.inspect()
        report.check()
        return report

    def inspect(self) -> AuditReport:
        """Read the whole log and say whether it is what was written.

        Finds a changed, removed or added entry, an end cut off below the signed head, a chain that
        was written anew, and an anchor that was edited or removed.
        """
        # The anchor first: entries committed meanwhile then count as newer, not as missing.
        sealed = self._anchor.read()
        with reading(self._engine) as connection:
            newest, problem, first_bad = _walk(connection, GENESIS, sealed)
            total = int(connection.scalar(select(func.count()).select_from(audit)) or 0)
        if sealed is None:
            anchor_problem = f"The signed head in {self._anchor.path} was edited or removed."
            problem = f"{problem} {anchor_problem}".strip()
        elif not problem and newest.seq < sealed.seq:
            first_bad = newest.seq + 1
            problem = f"Entries {first_bad} to {sealed.seq} were removed from the end of the log."
        sealed_seq = sealed.seq if sealed else 0
        return AuditReport(
            ok=not problem,
            entries=total,
            sealed_seq=sealed_seq,
            unsealed=max(0, newest.seq - sealed_seq),
            problem=problem,
            first_bad=first_bad,
        )

    def adopt(self, actor: str, reason: str) -> AuditReport:
        """Accept the log as it stands now, for instance after a backup was restored.

        The chain itself must hold. That it was adopted, by whom and why, becomes an entry of it.
        Raises `Tampered` when entries do not follow from each other.
        """
        with self._anchor.locked():
            before = self._anchor.read()
            with writing(self._engine) as connection:
                newest, problem, first_bad = _walk(connection, GENESIS)
                if problem:
                    AuditReport(False, 0, 0, 0, problem, first_bad).check()
                detail = {"reason": reason, "sealed_before": before.seq if before else None}
                append(connection, actor, "audit.adopted", f"seq:{newest.seq}", detail)
            with reading(self._engine) as connection:
                newest, _, _ = _walk(connection, newest)
            self._anchor.write(newest)
        return self.inspect()


def append(
    connection: Connection,
    actor: str,
    action: str,
    target: str,
    detail: Mapping[str, Any] | None = None,
) -> int:
    """Add an entry to the chain inside the caller's transaction; returns its sequence number."""
    serialise(connection)
    last = connection.execute(
        select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)
    ).first()
    seq, previous = (last.seq + 1, last.hash) if last else (1, GENESIS.hash)
    entry = {
        "seq": seq,
        "at": now().isoformat(),
        "actor": plain_text(actor),
        "action": action,
        "target": plain_text(target),
        "detail": canonical(plain_json(detail or {})),
    }
    entry["hash"] = _hash(previous, entry)
    connection.execute(insert(audit).values(**entry, previous=previous))
    return seq


def canonical(value: Any) -> str:
    """The one JSON text of ``value``: sorted keys, no spaces, ASCII, no NaN (after RFC 8785)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _hash(previous: str, entry: Mapping[str, Any]) -> str:
    body = {key: entry[key] for key in ("seq", "at", "actor", "action", "target", "detail")}
    return hashlib.sha256(f"{previous}\n{canonical(body)}".encode()).hexdigest()


def _walk(
    connection: Connection, start: Head, sealed: Head | None = None
) -> tuple[Head, str, int | None]:
    """Follow the chain after ``start``: the last good head, the problem, and where it begins."""
    if start.seq:
        found = connection.scalar(select(audit.c.hash).where(audit.c.seq == start.seq))
        if found != start.hash:
            return start, f"Entry {start.seq}, the sealed head, was changed or removed.", start.seq
    good = start
    for row in _rows_after(connection, start.seq):
        problem, bad = _compare(row, good, sealed)
        if problem:
            return good, problem, bad
        good = Head(row.seq, row.hash)
    return good, "", None


def _compare(row: Row[Any], good: Head, sealed: Head | None) -> tuple[str, int | None]:
    """What is wrong with ``row`` as the entry after ``good``."""
    expected = good.seq + 1
    if row.seq != expected:
        gap = (
            f"Entry {expected} was"
            if row.seq == expected + 1
            else f"Entries {expected} to {row.seq - 1} were"
        )
        return f"{gap} removed.", expected
    if _hash(row.previous, row._asdict()) != row.hash:
        return f"Entry {row.seq} was changed.", row.seq
    if row.previous != good.hash:
        return f"Entry {row.seq} does not follow from entry {good.seq}.", row.seq
    if sealed and row.seq == sealed.seq and row.hash != sealed.hash:
        return (
            f"The chain was written anew: entry {row.seq} is not the one that was sealed, "
            "so it or an entry before it was changed.",
            row.seq,
        )
    return "", None


def _rows_after(connection: Connection, seq: int) -> Iterator[Row[Any]]:
    while True:
        query = select(audit).where(audit.c.seq > seq).order_by(audit.c.seq).limit(_BATCH)
        rows = connection.execute(query).all()
        yield from rows
        if len(rows) < _BATCH:
            return
        seq = rows[-1].seq


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        seq=row.seq,
        at=datetime.fromisoformat(row.at),
        actor=row.actor,
        action=row.action,
        target=row.target,
        detail=json.loads(row.detail),
        hash=row.hash,
    )
