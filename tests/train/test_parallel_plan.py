"""A plan of processes, and the settings that ask for one."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import pytest

from undercroft.config import load
from undercroft.errors import BadConfig
from undercroft.settings import ParallelSettings
from undercroft.train.parallel.orders import Action, order
from undercroft.train.parallel.plan import Plan


def test_copies_are_what_processes_are_left() -> None:
    plan = Plan.of(ParallelSettings(processes=16, shard=2, tensor=2, pipeline=2))
    assert plan == Plan(replicate=2, shard=2, tensor=2, pipeline=2)
    assert (plan.size, plan.data, plan.model) == (16, 4, 4)


def test_a_number_of_processes_that_makes_no_whole_copy_says_which_would() -> None:
    with pytest.raises(BadConfig, match=r"align\.parallel\.processes to a multiple of 4\."):
        Plan.of(ParallelSettings(processes=6, shard=2, tensor=2), "align")


def test_a_section_in_a_section_is_set_from_file_environment_and_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "undercroft.toml").write_text(
        "[train]\nminutes = 3\n[train.parallel]\ntensor = 2\n"
    )
    monkeypatch.setenv("UNDERCROFT_TRAIN__PARALLEL__PROCESSES", "8")
    loaded = load(tmp_path, {"train.parallel": {"shard": 2}})
    assert loaded.settings.train.parallel == ParallelSettings(processes=8, shard=2, tensor=2)
    assert loaded.where("train.parallel.shard") == "command line"
    with pytest.raises(BadConfig, match=r"nearest is 'parallel\.tensor'"):
        load(tmp_path, {"train.parallel.tenser": 2})
    with pytest.raises(BadConfig, match=r"command line: train\.parallel\.tensor = 0"):
        load(tmp_path, {"train.parallel.tensor": 0})


@pytest.mark.parametrize("ranks", [2, 3, 4, 8])
@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_a_pipeline_waits_no_longer_than_its_schedule_must(ranks: int, rounds: int) -> None:
    """Bubbles as Narayanan et al. (2021, section 2.2) and Qi et al. (2023, table 2) have them where
    a backward pass takes twice as long as a forward pass, or both of its halves as long as one."""
    micros = ranks * rounds
    for chunks in (1, 2, 3):
        name = "interleaved" if chunks > 1 else "1f1b"
        least = (ranks - 1) / (chunks * micros + ranks - 1)
        assert order(name, ranks, chunks, micros).idle == pytest.approx(least)
    assert order("gpipe", ranks, 1, micros).idle == order("1f1b", ranks, 1, micros).idle
    if rounds > 1:
        least = (ranks - 1) / (3 * micros + ranks - 1)
        assert order("zero_bubble", ranks, 1, micros).idle == pytest.approx(least)


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b", "interleaved", "zero_bubble"])
def test_an_order_comes_to_an_end_and_does_everything_once_for_any_number(schedule: str) -> None:
    for ranks in (2, 3, 5):
        for micros in range(1, 9):
            chunks = 2 if schedule == "interleaved" else 1
            found = order(schedule, ranks, chunks, micros)
            kinds = 3 if schedule == "zero_bubble" else 2
            for each in found.ranks:
                assert len(each) == len(set(each)) == kinds * chunks * micros
                for action in each:
                    if action.kind == "backward":
                        before = Action("forward", action.chunk, action.micro)
                        assert each.index(before) < each.index(action)


def test_1f1b_holds_as_many_micro_batches_as_there_are_stages_ahead() -> None:
    for rank, actions in enumerate(order("1f1b", 4, 1, 16).ranks):
        held = list(accumulate(1 if each.kind == "forward" else -1 for each in actions))
        assert max(held) == 4 - rank
