"""Checkpoints are whole or not there, and a run goes on from them as if nothing had been."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.small import Squares, digest, settings, start
from undercroft.errors import Cancelled, StageFailed
from undercroft.train.parallel.placement import Part
from undercroft.train.state.checkpoint import Checkpoint, Store
from undercroft.train.state.saving import Writer

Events = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def events() -> Events:
    return []


def told(events: Events) -> Any:
    return lambda kind, detail: events.append((kind, dict(detail)))


def store(folder: Path, events: Events, keep: int = 2, config: str = "c") -> Store:
    return Store(folder, config, keep, told(events))


def made(step: int, is_good: bool = True) -> Checkpoint:
    return Checkpoint(step, {"w": torch.full((1000,), float(step))}, {"n": [step]}, is_good)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def flip(file: Path, at: int) -> None:
    whole = bytearray(file.read_bytes())
    whole[at] ^= 1
    file.write_bytes(whole)


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("harm", ["a flipped byte", "cut short", "missing"])
def test_one_that_was_harmed_is_not_used_but_the_one_before_it(
    tmp_path: Path, events: Events, name: str, harm: str
) -> None:
    mine = store(tmp_path, events)
    mine.write(made(1))
    mine.write(made(2))
    file = tmp_path / "checkpoint-2" / name
    if harm == "a flipped byte":
        flip(file, random.randrange(file.stat().st_size))
    elif harm == "cut short":
        os.truncate(file, file.stat().st_size // 2)
    else:
        file.unlink()
    found = mine.read()
    assert found is not None
    assert (found.step, float(found.tensors["w"][0])) == (1, 1.0)
    assert [kind for kind, _ in events] == ["checkpoint_broken"]
    assert events[0][1]["checkpoint"] == "checkpoint-2"
    assert events[0][1]["why"]
    mine.read()
    assert len(events) == 1  # it was put aside, and is not told of again


def test_so_many_stay_as_are_wanted_and_as_many_good_ones(tmp_path: Path, events: Events) -> None:
    mine = store(tmp_path, events, keep=2)
    for step, is_good in enumerate([True, True, True, False, False, False], start=1):
        mine.write(made(step, is_good))
    assert names(tmp_path) == [f"checkpoint-{step}" for step in (2, 3, 5, 6)]
    for before, step in ((99, 3), (3, 2), (2, None)):
        found = mine.read(good_before=before)
        assert (found and found.step) == step


def test_those_of_another_configuration_are_left_alone(tmp_path: Path, events: Events) -> None:
    other = store(tmp_path, events, config="other")
    other.write(made(50))
    mine = store(tmp_path, events, keep=1)
    assert mine.read() is None
    for step in (1, 2):
        mine.write(made(step))
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-50"]
    assert not events


def test_training_stops_short_when_all_were_lost_only_if_that_is_asked_for(
    tmp_path: Path, events: Events
) -> None:
    for required in (False, True):
        folder = tmp_path / str(required)
        params = settings(max_steps=4, require_resume=required)
        start(folder, params).train(lambda point, schedule: None)
        for file in folder.glob("*/state.json"):
            flip(file, 9)
        if not required:
            assert start(folder, params, event=told(events)).schedule.step == 0
            continue
        for _ in range(2):  # the second attempt does not quietly begin again either
            with pytest.raises(StageFailed, match="None of the 2 checkpoints"):
                start(folder, params)


@contextmanager
def little_room() -> Iterator[None]:
    """No file may grow beyond some bytes: writing fails midway, as on a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_fills_up_in_the_midst_of_a_save_costs_that_checkpoint_alone(
    tmp_path: Path, events: Events
) -> None:
    full = ExitStack()

    def fill_up(point: Any, schedule: Any) -> None:
        if point.step == 5:
            run._writer.finish()
            full.enter_context(little_room())

    run = start(tmp_path, event=told(events))
    with full:  # and not beyond: the report of the tests is a file too
        tally = run.train(fill_up)
    assert len(tally.losses) == 12
    assert names(tmp_path) == ["checkpoint-3", "checkpoint-4"]
    failed = [detail["step"] for kind, detail in events if kind == "checkpoint_failed"]
    assert failed == list(range(5, 13))
    with little_room():
        resumed = start(tmp_path, event=told(events))
        assert events[-1] == ("resumed", {"step": 4})
        resumed.train(lambda point, schedule: None)
    assert digest(resumed.model) == digest(run.model)


def test_what_is_written_is_the_state_when_it_was_begun(tmp_path: Path, events: Events) -> None:
    begun, going_on = threading.Event(), threading.Event()

    def slowly(checkpoint: Checkpoint) -> None:
        begun.set()
        going_on.wait()
        store(tmp_path, events).write(checkpoint)

    writer = Writer(slowly)
    weight = torch.zeros(1000)
    writer.begin(Checkpoint(1, {"w": weight}, {}))
    writer.wait_for_copy()
    weight.fill_(7.0)  # the next optimizer step
    begun.wait()
    assert writer.is_busy
    assert not list(tmp_path.iterdir())
    going_on.set()
    writer.finish()
    found = store(tmp_path, events).read()
    assert found is not None
    assert torch.equal(found.tensors["w"], torch.zeros(1000))


def test_what_goes_wrong_besides_the_disk_is_raised(tmp_path: Path) -> None:
    writer = Writer(lambda checkpoint: checkpoint.state["nothing of that name"])
    writer.begin(made(1))
    writer.finish()
    with pytest.raises(KeyError):
        writer.failures()


def test_all_that_a_run_depends_on_is_in_its_checkpoint(tmp_path: Path) -> None:
    """Dropout's random state, batch norm's buffers, and what the objective keeps."""
    straight = start(tmp_path / "straight", settings(max_steps=9))
    straight.train(lambda point, schedule: None)
    stop_after = random.randrange(1, 9)

    def stop(point: Any, schedule: Any) -> None:
        if point.step > stop_after:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        start(tmp_path / "stopped", settings(max_steps=9)).train(stop)
    torch.manual_seed(999)
    goal = Squares()
    resumed = start(tmp_path / "stopped", settings(max_steps=9), objective=goal)
    assert resumed.schedule.step == stop_after
    resumed.train(lambda point, schedule: None)
    assert digest(resumed.model) == digest(straight.model)
    assert resumed.tally == straight.tally
    assert torch.equal(goal.seen, straight._objective.seen)


KILLS = """
import os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.train.small import Squares, digest, samples_at, settings, start

TROUBLE = Squares(
    dict.fromkeys(samples_at(21, 25, 50, 52), float("nan")) | dict.fromkeys(samples_at(23, 51), 1e4)
)

def attempt(folder):
    child = os.fork()
    if child == 0:
        params = settings(max_steps=60, checkpoint_steps=4, spike_threshold=6, max_rollbacks=99)
        log = open(folder.with_suffix(".log"), "a", buffering=1)
        note = lambda kind, detail: print(kind, detail["step"], file=log)
        run = start(folder, params, objective=TROUBLE, event=note)
        run.train(lambda point, schedule: print("loss", point.step, point.loss.hex(), file=log))
        folder.with_suffix(".end").write_text(digest(run.model))
        os._exit(0)
    return child

folder, kills = Path(sys.argv[1]), int(sys.argv[2])
start(folder / "warm")  # imports what an optimizer takes, once for all that follow
os.waitpid(attempt(folder / "straight"), 0)
for number in range(kills):
    own = folder / f"killed-{number % 2}"
    child = attempt(own)
    time.sleep(random.random() * 0.4)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
for number in range(2):
    os.waitpid(attempt(folder / f"killed-{number}"), 0)
"""


def test_runs_killed_at_random_moments_end_as_if_they_had_not_been(tmp_path: Path) -> None:
    """In trouble as well: they skip, halve and roll back to the same checkpoints."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(["src", "."]), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", KILLS, str(tmp_path), "8"], env=environ, check=True)
    lines = [line.split() for line in (tmp_path / "straight.log").read_text().splitlines()]
    straight = {int(words[1]): words[2] for words in lines if words[0] == "loss"}
    assert [words[1] for words in lines if words[0] == "rolled_back"] == ["25", "52"]
    for number in range(2):
        own = tmp_path / f"killed-{number}"
        assert own.with_suffix(".end").read_text() == (tmp_path / "straight.end").read_text()
        for line in own.with_suffix(".log").read_text().splitlines():
            words = line.split()
            assert words[0] != "loss" or straight[int(words[1])] == words[2]
        assert not list(own.glob("making-*"))


def test_a_manifest_says_what_a_checkpoint_is(tmp_path: Path, events: Events) -> None:
    store(tmp_path, events).write(made(3))
    manifest = json.loads((tmp_path / "checkpoint-3" / "manifest.json").read_text())
    assert manifest["config_digest"] == "c"
    assert sorted(manifest["sha256"]) == ["state.json", "tensors.safetensors"]


class Thread:
    """Ranks that are threads of this process, and meet at a barrier."""

    def __init__(self, rank: int, table: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.size = rank, len(table)
        self._table, self._barrier = table, barrier

    def gather(self, mine: Any) -> list[Any]:
        self._table[self.rank] = mine
        self._barrier.wait()
        found = list(self._table)
        self._barrier.wait()
        return found

    def from_first(self, mine: Any) -> Any:
        return self.gather(mine)[0]


class Full(Store):
    """On a disk without room."""

    def _fill(self, making: Path, checkpoint: Checkpoint) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")


def in_ranks(size: int, work: Any) -> list[Any]:
    """What ``work`` gave or raised in each of so many ranks."""
    table: list[Any] = [None] * size
    barrier = threading.Barrier(size, timeout=20)
    found: list[Any] = [None] * size

    def run(rank: int) -> None:
        try:
            found[rank] = work(Thread(rank, table, barrier))
        except OSError as error:
            found[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return found


def block(rank: int, size: int, step: int = 1) -> Checkpoint:
    """The rows of one rank of a matrix of numbers that tell where they stand."""
    whole = torch.arange(35.0).view(7, 5)
    each = -(-7 // size)
    rows = whole[rank * each : (rank + 1) * each]
    return Checkpoint(step, {"w": rows}, {}, places={"w": Part((7, 5), (rank * each, 0))})


def test_what_several_ranks_wrote_is_read_in_any_other_blocks(
    tmp_path: Path, events: Events
) -> None:
    in_ranks(3, lambda group: Store(tmp_path, "c", 2, told(events), group).write(
        block(group.rank, 3)))  # fmt: skip
    files = [f"tensors-0000{rank}.safetensors" for rank in range(3)]
    assert names(tmp_path / "checkpoint-1") == ["manifest.json", "state.json", *files]
    found = store(tmp_path, events).read()
    assert found is not None
    whole = torch.arange(35.0).view(7, 5)
    assert torch.equal(found.tensors["w"], whole)
    for top, left, rows, columns in ((0, 0, 7, 5), (2, 1, 3, 2), (6, 4, 1, 1), (1, 0, 5, 5)):
        part = found.tensors.part("w", (top, left), (rows, columns))
        assert torch.equal(part, whole[top : top + rows, left : left + columns])


def test_a_rank_that_cannot_write_costs_all_of_them_that_checkpoint_alone(
    tmp_path: Path, events: Events
) -> None:
    def save(group: Thread, step: int, kinds: tuple[type[Store], ...]) -> None:
        own = kinds[group.rank](tmp_path, "c", 2, told(events), group)
        own.write(block(group.rank, 2, step))

    assert in_ranks(2, lambda group: save(group, 1, (Store, Store))) == [None, None]
    first, second = in_ranks(2, lambda group: save(group, 2, (Store, Full)))
    assert "rank 1: " in str(first)
    assert "No space left" in str(first)
    assert second.errno == errno.ENOSPC
    assert names(tmp_path) == ["checkpoint-1"]


def test_ranks_find_the_same_damage_whoever_looks_at_it(tmp_path: Path, events: Events) -> None:
    for step in (1, 2, 3):
        in_ranks(2, lambda group, step=step: Store(tmp_path, "c", 9, told(events), group).write(
            block(group.rank, 2, step)))  # fmt: skip
    flip(tmp_path / "checkpoint-3" / "tensors-00001.safetensors", 99)
    (tmp_path / "checkpoint-2" / "tensors-00000.safetensors").unlink()
    found = in_ranks(2, lambda group: Store(tmp_path, "c", 9, told(events), group).read())
    assert [each.step for each in found] == [1, 1]
    assert [detail["checkpoint"] for _, detail in events] == ["checkpoint-3", "checkpoint-2"]


def test_where_a_block_lies_is_verified_as_well(tmp_path: Path, events: Events) -> None:
    in_ranks(2, lambda group: Store(tmp_path, "c", 9, told(events), group).write(
        block(group.rank, 2)))  # fmt: skip
    manifest = tmp_path / "checkpoint-1" / "manifest.json"
    said = manifest.read_text()
    manifest.write_text(said.replace("[[7, 5], [4, 0]]", "[[7, 5], [3, 0]]"))
    assert manifest.read_text() != said
    assert store(tmp_path, events).read() is None
    assert events[0][1]["why"] == "manifest.json is missing or damaged"
