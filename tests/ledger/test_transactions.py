"""What holds when many finish at once, and when one dies in the middle."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from tests.ledger.conftest import made
from undercroft.errors import Busy, StorageFull
from undercroft.ledger import Ledger, database
from undercroft.records import Footprint
from undercroft.trust import AuditLog
from undercroft.trust.audit import append
from undercroft.trust.transactions import writing


def test_concurrent_runs_get_dense_distinct_versions(ledger: Ledger, trust_folder: Path) -> None:
    def run(number: int) -> int | None:
        begun = ledger.begin_run("curate", f"k{number}", {}, [])
        outputs = ledger.finish_run(begun.id, [made("raw"), made("dataset")], Footprint())
        assert outputs[0].ref.version == outputs[1].ref.version
        return outputs[0].ref.version

    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(run, range(32)))
    assert sorted(versions) == list(range(1, 33))
    report = AuditLog(ledger.engine, trust_folder / "audit.head").verify()
    assert (report.entries, report.unsealed) == (32, 0)


def test_processes_get_dense_distinct_versions(
    ledger: Ledger, url: str, trust_folder: Path
) -> None:
    code = f"""
import sys
from pathlib import Path
from undercroft.ledger import Ledger, MadeArtifact
from undercroft.records import Footprint
ledger = Ledger.open({url!r}, Path({str(trust_folder)!r}))
for n in range(6):
    run = ledger.begin_run("curate", f"{{sys.argv[1]}}-{{n}}", {{}}, [])
    item = MadeArtifact("dataset", "docs", "d", "blob:d", 1)
    print(ledger.finish_run(run.id, [item], Footprint())[0].ref.version)
"""
    processes = [_start(code, str(number)) for number in range(3)]
    printed = [process.communicate(timeout=60)[0].split() for process in processes]
    assert sorted(int(version) for lines in printed for version in lines) == list(range(1, 19))
    assert AuditLog(ledger.engine, trust_folder / "audit.head").verify().entries == 18


def test_attempts_at_the_same_work_share_one_run(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: ledger.begin_run("train", "k", {}, []), range(16)))
    assert len({run.id for run in runs}) == 1
    assert sorted(run.attempt for run in runs) == list(range(1, 17))


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(st.sampled_from(["a", "b", "c"]), max_size=4), max_size=6))
def test_versions_are_dense_whatever_is_made_together(
    ledger: Ledger, runs: list[list[str]]
) -> None:
    for names in runs:
        run = ledger.begin_run("curate", os.urandom(8).hex(), {}, [])
        ledger.finish_run(run.id, [made("dataset", name) for name in names], Footprint())
    for name in ("a", "b", "c"):
        found = ledger.artifacts("dataset", name, limit=1000)
        versions = [artifact.ref.version for artifact in found]
        assert versions == list(range(len(versions), 0, -1))


def test_a_transaction_that_fails_leaves_nothing(
    ledger: Ledger, trust_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ledger.begin_run("curate", "k", {}, [])

    def fail(*_: object) -> None:
        raise RuntimeError("at the last step")

    monkeypatch.setattr("undercroft.ledger.runs.append", fail)
    with pytest.raises(RuntimeError):
        ledger.finish_run(run.id, [made()], Footprint())
    monkeypatch.undo()
    assert ledger.artifacts() == []
    assert ledger.run(run.id).status == "running"
    assert ledger.finish_run(run.id, [made()], Footprint())[0].ref.version == 1


def test_a_process_killed_inside_the_transaction_leaves_nothing(
    ledger: Ledger, url: str, trust_folder: Path
) -> None:
    code = f"""
import os, signal
from pathlib import Path
from undercroft.ledger import Ledger, MadeArtifact, runs
from undercroft.records import Footprint
ledger = Ledger.open({url!r}, Path({str(trust_folder)!r}))
run = ledger.begin_run("curate", "k", {{}}, [])
append = runs.append
def die(*args):
    append(*args)
    os.kill(os.getpid(), signal.SIGKILL)
runs.append = die
ledger.finish_run(run.id, [MadeArtifact("dataset", "docs", "d", "blob:d", 1)], Footprint())
"""
    assert _start(code).wait(timeout=60) == -9
    assert ledger.artifacts() == []
    (run,) = ledger.runs()
    assert run.status == "running"
    taken = ledger.begin_run("curate", "k", {}, [])
    assert (taken.id, taken.attempt) == (run.id, 2)
    assert ledger.finish_run(taken.id, [made()], Footprint())[0].ref.version == 1
    assert AuditLog(ledger.engine, trust_folder / "audit.head").verify().entries == 1


def test_a_process_killed_at_any_moment_leaves_whole_runs_only(
    ledger: Ledger, url: str, trust_folder: Path
) -> None:
    code = f"""
from pathlib import Path
from undercroft.ledger import Ledger, MadeArtifact
from undercroft.records import Footprint
ledger = Ledger.open({url!r}, Path({str(trust_folder)!r}))
print("ready", flush=True)
for n in range(10_000):
    run = ledger.begin_run("curate", "k", {{}}, [])
    items = [MadeArtifact(kind, "docs", "d", "blob:d", 1) for kind in ("raw", "dataset")]
    ledger.finish_run(run.id, items, Footprint())
"""
    for delay in (0.11, 0.23, 0.37):
        process = _start(code)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.kill()
        process.wait()
    finished = ledger.runs(status="finished", limit=10_000)
    assert finished
    assert all(len(run.outputs) == 2 for run in finished)
    assert len(ledger.artifacts("raw", limit=10_000)) == len(finished)
    assert len(ledger.runs(status="running")) <= 1
    report = AuditLog(ledger.engine, trust_folder / "audit.head").verify()
    assert report.entries == len(finished)
    assert report.unsealed <= 1


def test_readers_see_the_last_commit_while_a_writer_writes(ledger: Ledger) -> None:
    run = ledger.begin_run("curate", "k", {}, [])
    inside, leave = threading.Event(), threading.Event()

    def write() -> None:
        with writing(ledger.engine) as connection:
            append(connection, "ada", "test", "nothing")
            inside.set()
            leave.wait(10)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        inside.wait(10)
        assert ledger.run(run.id).status == "running"
    finally:
        leave.set()
        writer.join()


def test_a_sqlite_ledger_held_by_another_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.1)
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger, other = Ledger.open(url), Ledger.open(url)
    with writing(other.engine), pytest.raises(Busy, match="Another process holds"):
        ledger.begin_run("curate", "k", {}, [])


def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path / "trust")
    with ledger.engine.connect() as connection:
        pages = connection.scalar(text("PRAGMA page_count"))
        connection.execute(text(f"PRAGMA max_page_count = {pages + 4}"))  # of this connection
    acknowledged = []

    def work() -> None:
        for number in range(1000):
            run = ledger.begin_run("curate", f"k{number}", {"text": "x" * 500}, [])
            acknowledged.extend(ledger.finish_run(run.id, [made()], Footprint()))

    with pytest.raises(StorageFull, match="could not be written"):
        work()
    assert acknowledged
    ledger.close()
    again = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path / "trust")
    assert again.artifacts(limit=1000) == acknowledged[::-1]
    run = again.begin_run("curate", "after", {}, [])
    assert again.finish_run(run.id, [made()], Footprint())


def test_a_head_that_cannot_be_signed_does_not_undo_the_work(
    tmp_path: Path, trust_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", trust_folder)
    run = ledger.begin_run("curate", "k", {}, [])
    (trust_folder / "audit.head").write_text("{}")
    assert ledger.finish_run(run.id, [made()], Footprint())
    assert "was edited or removed" in caplog.text
    shutil.rmtree(trust_folder)
    trust_folder.write_text("a file where the folder was")
    assert ledger.decide("release", "route:docs@1", "refused", "a test", {}, "ada")
    assert "was not sealed" in caplog.records[-1].message


def test_a_postgres_that_dropped_its_connections_costs_no_error(postgres_url: str) -> None:
    url = f"{postgres_url}&application_name=undercroft-dropped"
    ledger = Ledger.open(url)
    ledger.begin_run("curate", "k", {}, [])
    drop = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name"
    with Ledger.open(postgres_url).engine.begin() as connection:
        dropped = connection.execute(text(drop), {"name": "undercroft-dropped"}).all()
    assert dropped
    assert len(ledger.runs()) == 1


def _start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True
    )
