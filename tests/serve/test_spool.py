"""No answer that a client has seen whole is lost, and none is recorded twice."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from undercroft.lake import Lake
from undercroft.serve.journal import spool
from undercroft.serve.journal.recorder import Recorder
from undercroft.serve.journal.rows import FeedbackRow, RequestRow
from undercroft.serve.journal.spool import Spool

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.serve.test_spool import request
from undercroft.serve.journal.spool import Spool
spool = Spool(Path(sys.argv[1]))
for number in range(10**9):
    spool.append(request(f"ans-{{number:06d}}"))
    print(number, flush=True)
"""

MOVER = """
import sys, os, signal
from pathlib import Path
from undercroft.lake import Lake
from undercroft.serve.journal import recorder
recorder.Path.unlink = lambda self: os.kill(os.getpid(), signal.SIGKILL)
recorder.Recorder(Lake(sys.argv[1]), Path(sys.argv[2])).move()
"""


def request(answer: str, tokens: int = 10) -> RequestRow:
    return RequestRow(
        id=answer, at=datetime.now(UTC), key="key-1", subject="key-1", route="route:docs@1",
        model="model:docs@1", kind="chat", question_sealed=b"\x00q", answer_sealed=b"\xffa",
        status="ok", prompt_tokens=tokens, completion_tokens=1,
    )  # fmt: skip


def ids(lake: Lake) -> list[str]:
    table = lake.table("requests")
    return sorted(table.read(["id"])["id"].to_pylist()) if table.exists() else []


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


def test_rows_survive_the_way_through_the_spool(tmp_path):
    written = Spool(tmp_path)
    rows = [request("ans-1"), FeedbackRow("fb-1", "ans-1", datetime.now(UTC), "k", 1, b"\x80", "s")]
    for row in rows:
        written.append(row)
    (segment,) = written.closed_segments()
    assert list(spool.read(segment)) == rows


def test_what_a_killed_process_had_written_is_all_there(tmp_path):
    script = WRITER.format(root=str(Path(__file__).parents[2]))
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    time.sleep(1.5)
    writer.send_signal(signal.SIGKILL)
    acknowledged = [int(line) for line in writer.communicate()[0].split("\n")[:-1]]
    assert acknowledged
    found = [row.id for segment in Spool(tmp_path).closed_segments() for row in spool.read(segment)]
    assert found[: len(acknowledged)] == [f"ans-{number:06d}" for number in acknowledged]
    assert len(found) == len(set(found))


def test_a_torn_line_costs_only_itself(tmp_path):
    first = Spool(tmp_path)
    first.append(request("ans-1"))
    (segment,) = first.closed_segments()
    with segment.open("ab") as file:
        file.write(b'{"table":"requests","id":"ans-2","at":')
    assert [row.id for row in spool.read(segment)] == ["ans-1"]


def test_a_new_process_never_writes_into_an_old_segment(tmp_path):
    Spool(tmp_path).append(request("ans-1"))
    second = Spool(tmp_path)
    second.append(request("ans-2"))
    assert len(second.closed_segments()) == 2


async def test_rows_are_moved_to_the_lake_and_the_spool_emptied(tmp_path, lake):
    recorder = Recorder(lake, tmp_path / "spool")
    recorder.append(request("ans-1"))
    recorder.append(request("ans-2"))
    recorder.append(FeedbackRow("fb-1", "ans-1", datetime.now(UTC), "k", -1, b"x", "s"))
    recorder.move()
    assert ids(lake) == ["ans-1", "ans-2"]
    assert lake.table("feedback").read().to_pylist()[0]["rating"] == -1
    assert list((tmp_path / "spool").iterdir()) == []
    assert recorder.waiting == 0


def test_a_kill_between_moving_and_deleting_records_nothing_twice(tmp_path, lake):
    folder = tmp_path / "spool"
    written = Spool(folder)
    for number in range(20):
        written.append(request(f"ans-{number}"))
    moved = subprocess.run(
        [sys.executable, "-c", MOVER, str(tmp_path / "lake"), str(folder)], check=False
    )
    assert moved.returncode == -signal.SIGKILL
    assert len(ids(lake)) == 20  # moved, but the segment is still there
    assert len(list(folder.iterdir())) == 1
    Recorder(lake, folder).move()
    assert ids(lake) == sorted(f"ans-{number}" for number in range(20))
    assert list(folder.iterdir()) == []


def test_tokens_spent_today_are_counted_once_from_lake_and_spool(tmp_path, lake):
    recorder = Recorder(lake, tmp_path / "spool")
    recorder.append(request("ans-1", 100))
    recorder.move()
    recorder.append(request("ans-1", 100))  # as after a crash: in both
    recorder.append(request("ans-2", 50))
    assert Recorder(lake, tmp_path / "spool").spent_today() == {"key-1": 101 + 51}


def test_a_changed_rating_replaces_the_first(tmp_path, lake):
    recorder = Recorder(lake, tmp_path / "spool")
    for rating in (1, -1):
        recorder.append(FeedbackRow("fb-1", "ans-1", datetime.now(UTC), "k", rating, b"", "s"))
        recorder.move()
    assert [row["rating"] for row in lake.table("feedback").read().to_pylist()] == [-1]


def test_rows_wait_in_memory_while_the_disk_is_full(tmp_path, lake, monkeypatch):
    recorder = Recorder(lake, tmp_path / "spool")
    real = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda file, data: real(file, data[: len(data) // 2]))
        assert recorder.append(request("ans-1")) is False
        assert recorder.failing
    assert recorder.append(request("ans-2")) is True
    recorder.move()
    assert ids(lake) == ["ans-1", "ans-2"]


async def test_the_subject_of_an_answer_is_known_before_and_after_it_is_moved(tmp_path, lake):
    recorder = Recorder(lake, tmp_path / "spool")
    recorder.append(request("ans-1"))
    assert await recorder.subject_of("ans-1") == "key-1"
    recorder.move()
    assert await Recorder(lake, tmp_path / "spool").subject_of("ans-1") == "key-1"
    assert await recorder.subject_of("ans-2") is None
