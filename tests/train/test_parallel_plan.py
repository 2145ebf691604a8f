"""A plan of processes, and the settings that ask for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from undercroft.config import load
from undercroft.errors import BadConfig
from undercroft.settings import ParallelSettings
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
