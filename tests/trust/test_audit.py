"""The audit log: what it keeps, and that no change to it goes unnoticed."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, delete, insert, select, update

from tests.trust.conftest import enter
from undercroft.errors import Tampered
from undercroft.trust import AuditLog
from undercroft.trust.audit import append, canonical
from undercroft.trust.plain import plain_json, plain_text
from undercroft.trust.tables import audit
from undercroft.trust.transactions import writing


def test_entries_read_back_newest_first(engine: Engine, log: AuditLog) -> None:
    enter(engine, 3)
    entries = log.entries()
    assert [entry.seq for entry in entries] == [3, 2, 1]
    newest = entries[0]
    assert (newest.actor, newest.action, newest.target) == ("ada", "document.read", "document:2")
    assert newest.detail == {"n": 2}
    assert newest.at.tzinfo is not None
    assert [entry.seq for entry in log.entries(limit=1, offset=1)] == [2]


def test_an_entry_belongs_to_the_transaction_it_was_made_in(engine: Engine, log: AuditLog) -> None:
    with engine.connect() as connection:
        log.append(connection, "ada", "document.read", "document:1", {})
        connection.rollback()
    assert log.entries() == []
    enter(engine)
    assert log.entries()[0].seq == 1


def test_an_untouched_log_is_whole(engine: Engine, log: AuditLog) -> None:
    assert log.verify().entries == 0
    enter(engine, 5)
    log.seal()
    report = log.verify()
    assert (report.ok, report.entries, report.sealed_seq, report.unsealed) == (True, 5, 5, 0)


def test_a_crash_before_the_seal_is_not_tampering(engine: Engine, log: AuditLog) -> None:
    enter(engine, 2)
    log.seal()
    enter(engine, 3)
    report = log.verify()
    assert (report.ok, report.entries, report.sealed_seq, report.unsealed) == (True, 5, 2, 3)
    assert log.seal()
    assert log.verify().unsealed == 0


def test_writers_at_once_make_one_chain(engine: Engine, log: AuditLog) -> None:
    def write(number: int) -> None:
        enter(engine, 4, actor=f"writer-{number}")
        log.seal()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    report = log.verify()
    assert (report.entries, report.unsealed) == (24, 0)
    assert [entry.seq for entry in log.entries()] == list(range(24, 0, -1))


Deed = Callable[[Connection], object]

DEEDS: dict[str, tuple[Deed, int, str]] = {
    "an actor changed": (
        lambda c: c.execute(update(audit).where(audit.c.seq == 3).values(actor="eve")),
        3,
        "Entry 3 was changed",
    ),
    "a detail changed": (
        lambda c: c.execute(update(audit).where(audit.c.seq == 1).values(detail='{"n":9}')),
        1,
        "Entry 1 was changed",
    ),
    "a time changed": (
        lambda c: c.execute(update(audit).where(audit.c.seq == 6).values(at="2020-01-01")),
        6,
        "Entry 6 was changed",
    ),
    "a middle entry removed": (
        lambda c: c.execute(delete(audit).where(audit.c.seq == 4)),
        4,
        "Entry 4 was removed",
    ),
    "the first entries removed": (
        lambda c: c.execute(delete(audit).where(audit.c.seq <= 2)),
        1,
        "Entries 1 to 2 were removed",
    ),
    "the end removed": (
        lambda c: c.execute(delete(audit).where(audit.c.seq >= 5)),
        5,
        "Entries 5 to 6 were removed from the end",
    ),
    "everything removed": (
        lambda c: c.execute(delete(audit)),
        1,
        "Entries 1 to 6 were removed from the end",
    ),
    "the chain written anew": (
        lambda c: rewrite(c, from_seq=3, actor="eve"),
        6,
        "written anew",
    ),
    "an entry replaced together with its hash": (
        lambda c: rewrite(c, from_seq=3, actor="eve", only_one=True),
        4,
        "Entry 4 does not follow from entry 3",
    ),
}


def rewrite(connection: Connection, from_seq: int, actor: str, only_one: bool = False) -> None:
    """What somebody does who knows how the chain is made, but has not the key."""
    rows = connection.execute(select(audit).order_by(audit.c.seq)).mappings().all()
    previous = rows[from_seq - 2]["hash"]
    for row in rows[from_seq - 1 :]:
        changed = {**row, "actor": actor, "previous": previous}
        body = {k: changed[k] for k in ("seq", "at", "actor", "action", "target", "detail")}
        changed["hash"] = hashlib.sha256(f"{previous}\n{canonical(body)}".encode()).hexdigest()
        previous = changed["hash"]
        connection.execute(delete(audit).where(audit.c.seq == row["seq"]))
        connection.execute(insert(audit).values(**changed))
        if only_one:
            return


@pytest.mark.parametrize("deed", DEEDS)
def test_tampering_shows_where_it_begins(engine: Engine, log: AuditLog, deed: str) -> None:
    enter(engine, 6)
    log.seal()
    tamper, first_bad, problem = DEEDS[deed]
    with writing(engine) as connection:
        tamper(connection)
    report = log.inspect()
    assert not report.ok
    assert report.first_bad == first_bad
    assert problem in report.problem
    with pytest.raises(Tampered, match="not what was written"):
        log.verify()


@pytest.mark.parametrize(
    "deed", ["the end removed", "everything removed", "the chain written anew"]
)
def test_later_entries_do_not_make_tampering_good(engine: Engine, log: AuditLog, deed: str) -> None:
    enter(engine, 6)
    log.seal()
    with writing(engine) as connection:
        DEEDS[deed][0](connection)
    enter(engine, 10)
    assert not log.seal()
    report = log.inspect()
    assert not report.ok
    assert report.first_bad == 6  # the sealed head is not the entry that stands there now


@pytest.mark.parametrize(
    "content",
    [
        lambda anchor: anchor | {"seq": 2},
        lambda anchor: anchor | {"hash": "0" * 64},
        lambda anchor: anchor | {"at": "2020-01-01T00:00:00+00:00"},
        lambda anchor: anchor | {"signature": "00" * 64},
        lambda _: {},
        lambda _: None,
    ],
)
def test_an_edited_anchor_shows(
    engine: Engine, log: AuditLog, folder: Path, content: Callable[[object], object]
) -> None:
    enter(engine, 3)
    log.seal()
    anchor = folder / "audit.head"
    anchor.write_text(json.dumps(content(json.loads(anchor.read_text()))))
    report = log.inspect()
    assert (report.ok, report.first_bad) == (False, None)
    assert "edited or removed" in report.problem
    assert not log.seal()


def test_a_removed_anchor_shows_even_after_opening_again(
    engine: Engine, log: AuditLog, folder: Path
) -> None:
    enter(engine, 3)
    log.seal()
    (folder / "audit.head").unlink()
    again = AuditLog(engine, folder / "audit.head")
    assert "edited or removed" in again.inspect().problem


def test_an_anchor_of_another_key_shows(engine: Engine, log: AuditLog, folder: Path) -> None:
    enter(engine, 3)
    log.seal()
    other = AuditLog(engine, folder / "forged" / "audit.head")
    other.seal()
    (folder / "forged" / "audit.head").replace(folder / "audit.head")
    assert "edited or removed" in log.inspect().problem


def test_a_second_anchor_over_entries_is_itself_entered(
    engine: Engine, log: AuditLog, folder: Path
) -> None:
    enter(engine, 2)
    log.seal()
    second = AuditLog(engine, folder / "elsewhere" / "audit.head")
    assert second.entries()[0].action == "audit.anchored"
    assert second.verify().unsealed == 0
    assert log.verify().ok


def test_an_empty_log_begins_without_an_entry(engine: Engine, log: AuditLog) -> None:
    assert log.entries() == []


def test_adopting_a_restored_backup_is_entered_in_it(
    engine: Engine, log: AuditLog, folder: Path
) -> None:
    enter(engine, 6)
    log.seal()
    with writing(engine) as connection:
        connection.execute(delete(audit).where(audit.c.seq > 4))
    assert not log.inspect().ok
    report = log.adopt("ada", "restored the backup of Monday")
    assert (report.ok, report.entries, report.unsealed) == (True, 5, 0)
    entry = log.entries()[0]
    assert (entry.actor, entry.action) == ("ada", "audit.adopted")
    assert entry.detail == {"reason": "restored the backup of Monday", "sealed_before": 6}


def test_a_chain_that_does_not_hold_cannot_be_adopted(engine: Engine, log: AuditLog) -> None:
    enter(engine, 6)
    log.seal()
    with writing(engine) as connection:
        connection.execute(delete(audit).where(audit.c.seq == 3))
    with pytest.raises(Tampered, match="Entry 3 was removed"):
        log.adopt("ada", "looks fine to me")


def test_the_signing_key_is_for_its_owner_alone(log: AuditLog, folder: Path) -> None:
    assert log.verify().ok
    assert (folder / "audit.head.key").stat().st_mode & 0o777 == 0o600


def _open(url: str, path: str) -> str:
    from undercroft.ledger import Ledger

    ledger = Ledger.open(url, Path(path))
    enter(ledger.engine, 2)
    AuditLog(ledger.engine, Path(path) / "audit.head").seal()
    return (Path(path) / "audit.head.key").read_text()


def test_processes_that_open_a_log_at_once_share_one_key(
    engine: Engine, url: str, folder: Path
) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        keys = pool.starmap(_open, [(url, str(folder))] * 3)
    assert len(set(keys)) == 1
    report = AuditLog(engine, folder / "audit.head").verify()
    assert report.entries >= 6


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.text(st.characters(), max_size=20),
    st.dictionaries(
        st.text(max_size=8),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
        max_size=4,
    ),
)
def test_whatever_is_entered_verifies(
    engine: Engine, log: AuditLog, target: str, detail: dict[str, object]
) -> None:
    with writing(engine) as connection:
        append(connection, "ada", "test", target, detail)
    assert log.seal()
    assert log.verify().unsealed == 0
    entry = log.entries(limit=1)[0]
    assert entry.target == plain_text(target)
    assert entry.detail == plain_json(detail)
