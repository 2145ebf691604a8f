"""Ranks that are killed, hang, or cannot be had any more: the training goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.train.launching import STEPS, Seen, watch
from undercroft.errors import BadInput, Cancelled, StageFailed
from undercroft.train.launch.host import Here
from undercroft.train.launch.signs import Pulse, Teller, Told
from undercroft.train.launch.vigil import Hung, Vigil


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    """This machine, whose nursery imports everything once for all tests."""
    here = Here(tmp_path_factory.mktemp("log") / "ranks.log")
    yield here
    here.close()


@pytest.fixture(scope="module")
def undisturbed(hosts: Here, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return watch(tmp_path_factory.mktemp("straight"), hosts, 2)


class At:
    """Sends a signal to one rank, once, at a step."""

    def __init__(self, step: int, rank: int, how: signal.Signals) -> None:
        self._at = (step, rank, how)
        self._is_done = False

    def __call__(self, step: int, pids: list[int]) -> None:
        wanted, rank, how = self._at
        if step >= wanted and not self._is_done:
            self._is_done = True
            os.kill(pids[rank], how)


def test_a_run_of_two_ranks_tells_of_each_step_and_leaves_its_last_checkpoint(
    undisturbed: Seen,
) -> None:
    assert list(undisturbed.losses) == list(range(1, STEPS + 1))
    assert undisturbed.tally.losses == list(undisturbed.losses.values())
    assert [kind for kind, _ in undisturbed.events] == ["ranks_started"]


def test_a_rank_that_is_killed_is_replaced_and_every_loss_is_the_same(
    undisturbed: Seen, hosts: Here, tmp_path: Path
) -> None:
    draw = random.Random()
    step, rank = draw.randrange(1, STEPS), draw.randrange(2)
    seen = watch(tmp_path, hosts, 2, slow_s=0.01, at_step=At(step, rank, signal.SIGKILL))
    (lost,) = seen.of("rank_lost")
    assert (lost["ranks"], lost["why"]) == ([rank], "killed by SIGKILL"), (step, rank)
    assert lost["step"] >= step
    assert seen.losses == undisturbed.losses
    assert seen.tally.losses == undisturbed.tally.losses


def test_a_rank_that_is_stopped_is_found_and_replaced(
    undisturbed: Seen, hosts: Here, tmp_path: Path
) -> None:
    at = At(10, 1, signal.SIGSTOP)
    seen = watch(tmp_path, hosts, 2, slow_s=0.01, timeout_s=3.0, at_step=at)
    lost = seen.of("rank_lost")[0]
    assert lost["ranks"] == [1]
    assert lost["why"].startswith("stopped")
    log = (tmp_path / ".undercroft" / "logs" / "ranks.log").read_text()
    assert "gather" in log  # where the other one waits for it
    assert seen.losses == undisturbed.losses


def test_a_rank_that_hangs_is_found_and_replaced(
    undisturbed: Seen, hosts: Here, tmp_path: Path
) -> None:
    seen = watch(tmp_path, hosts, 2, hung=tmp_path / "hung", timeout_s=3.0)
    lost = seen.of("rank_lost")[0]
    assert lost["ranks"] == [1]
    assert lost["why"].startswith("hung")
    assert seen.losses == undisturbed.losses


def test_ranks_that_die_whenever_there_are_three_go_on_as_two(
    undisturbed: Seen, hosts: Here, tmp_path: Path
) -> None:
    seen = watch(tmp_path, hosts, 3, too_many=3)
    assert [each["processes"] for each in seen.of("ranks_started")] == [3, 3, 2]
    assert {each["why"] for each in seen.of("rank_lost")} == {"ended with exit code 77"}
    assert list(seen.losses) == list(range(1, STEPS + 1))


def test_restarts_that_lead_nowhere_come_to_an_end(hosts: Here, tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="came no further") as error:
        watch(tmp_path, hosts, 2, too_many=1, restarts=2)
    assert "exit code 77" in error.value.why
    assert "ranks.log" in error.value.do


def test_a_run_that_is_cancelled_leaves_no_rank_and_goes_on_later(
    undisturbed: Seen, hosts: Here, tmp_path: Path
) -> None:
    running: list[int] = []

    def stop(step: int, pids: list[int]) -> None:
        if step == 10:
            running.extend(pids)
            raise Cancelled("Stopped on request.")

    with pytest.raises(Cancelled):
        watch(tmp_path, hosts, 2, slow_s=0.01, at_step=stop)
    assert running
    assert not any(map(is_alive, running))
    again = watch(tmp_path, hosts, 2)
    assert again.of("resumed")[0]["step"] >= 4
    assert again.tally.losses == undisturbed.tally.losses


def test_what_is_wrong_with_the_input_is_said_as_by_one_process(
    hosts: Here, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="cannot be used"):
        watch(tmp_path, hosts, 2, fails="This cannot be used.")


ORPHANED = """
import sys, time
from pathlib import Path
from tests.train.launching import watch
from undercroft.train.launch.host import Here

def told(step, pids):
    if step == 6:
        Path(sys.argv[1], "pids").write_text(" ".join(map(str, pids)))

watch(Path(sys.argv[1]), Here(Path(sys.argv[1], "log")), 2, slow_s=0.05, at_step=told)
"""


def test_ranks_end_with_whoever_watches_over_them_even_one_that_is_stopped(
    undisturbed: Seen, hosts: Here, tmp_path: Path
) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(["src", "."])}
    parent = subprocess.Popen([sys.executable, "-c", ORPHANED, str(tmp_path)], env=environ)
    while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text():
        assert parent.poll() is None
        time.sleep(0.01)
    pids = [int(each) for each in (tmp_path / "pids").read_text().split()]
    if sys.platform == "linux":
        os.kill(pids[1], signal.SIGSTOP)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 5
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    again = watch(tmp_path, hosts, 2)
    (resumed,) = again.of("resumed")
    assert resumed["step"] >= 4
    assert again.tally.losses == undisturbed.tally.losses


def is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_of_ranks_that_wait_for_each_other_the_one_behind_is_found() -> None:
    vigil = Vigil(3, timeout_s=10.0, now=0.0)
    for second in range(1, 8):
        beating = [Pulse(second, second, second)] * 3
        assert vigil.look(beating, float(second)) is None
    for second in range(8, 17):
        stuck = [Pulse(second, 8, 8), Pulse(second, 7, 7), Pulse(second, 8, 8)]
        assert vigil.look(stuck, float(second)) is None
    stuck = [Pulse(20, 8, 8), Pulse(20, 7, 7), Pulse(20, 8, 8)]
    assert vigil.look(stuck, 18.5) == Hung((1,), "hung: nothing done for 10 s")


def test_steps_that_take_long_are_given_ten_times_as_long() -> None:
    vigil = Vigil(1, timeout_s=10.0, now=0.0)
    assert vigil.allowed_s == 100.0
    for step in range(1, 5):
        for tenth in range(1, 51):
            now = (step - 1) * 50.0 + tenth
            beats = step if tenth == 50 else step - 1
            assert vigil.look([Pulse(int(now), beats, beats)], now) is None
    assert vigil.allowed_s == 500.0


def test_ranks_are_not_blamed_when_it_was_the_watch_that_slept() -> None:
    vigil = Vigil(1, timeout_s=10.0, now=0.0)
    assert vigil.look([Pulse(1, 1, 1)], 1.0) is None
    assert vigil.look([Pulse(1, 1, 1)], 3600.0) is None
    assert vigil.look([Pulse(2, 2, 2)], 3601.0) is None


def test_what_was_told_is_read_once_it_is_kept_even_by_another_reader(tmp_path: Path) -> None:
    path = tmp_path / "told.jsonl"
    Teller(path).tell(event="one")
    first = Told(path)
    assert [each["event"] for each in first] == ["one"]
    first.done()
    with path.open("a") as file:
        file.write('{"event": "torn')
    teller = Teller(path)
    teller.tell(event="two")
    assert [each["event"] for each in Told(path)] == ["two"]
    assert [each["event"] for each in Told(path)] == ["two"]
