"""Where training computes, and that all of it does.

No machine of the tests need have a device: `tests.train.elsewhere` is one of plain memory, on which
any operation fails that mixes what lies there with what lies on the host.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from undercroft.errors import BadConfig
from undercroft.settings import TrainSettings
from undercroft.train.parallel import device as devices

ON_DEVICE = ["next_token", "dpo-lora", "held", "taught", "fisher"]


@pytest.fixture(scope="module")
def found(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("elsewhere")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(["src", "."]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.train.elsewhere", str(tiny), str(out)]
    subprocess.run(command, env=environ, check=True, timeout=900)
    return json.loads((out / "found.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ON_DEVICE)
def test_a_device_measures_what_the_processor_does(found: dict[str, Any], name: str) -> None:
    """And nothing that it takes was left on the host, or that would have failed."""
    here, there = found[name]["here"], found[name]["cpu"]
    assert len(here) == len(there)
    for ours, theirs in zip(here, there, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_a_run_on_a_device_resumes_with_the_devices_random_numbers(found: dict[str, Any]) -> None:
    straight, resumed = found["killed"]["here"]
    assert resumed == straight


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes this machine one of so many CUDA devices, as far as torch says."""

    def of(count: int, local_rank: int = 0, ranks_here: int = 1) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(devices, "_settle", lambda device: None)
        monkeypatch.setenv("LOCAL_RANK", "0")
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
        devices.seat(local_rank, ranks_here)

    return of


@pytest.mark.parametrize(
    ("asked", "count", "rank", "ranks", "device"),
    [
        ("auto", 0, 0, 1, "cpu"),
        ("auto", 2, 0, 1, "cuda:0"),
        ("auto", 4, 3, 4, "cuda:3"),
        ("cuda", 2, 1, 2, "cuda:1"),
        ("cuda:1", 2, 0, 1, "cuda:1"),
        ("cpu", 2, 1, 2, "cpu"),
    ],
)
def test_each_rank_takes_the_device_of_its_number(
    machine: Any, asked: str, count: int, rank: int, ranks: int, device: str
) -> None:
    machine(count, rank, ranks)
    assert str(devices.chosen(asked)) == device


@pytest.mark.parametrize(
    ("asked", "count", "rank", "ranks", "said"),
    [
        ("cuda", 0, 0, 1, "no such device"),
        ("cuda:5", 2, 0, 1, "cuda:0, cuda:1"),
        ("auto", 2, 2, 4, "4 processes have 2 devices"),
        ("cuda:0", 2, 0, 2, "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_a_device_that_is_not_there_is_refused_with_what_is(
    machine: Any, asked: str, count: int, rank: int, ranks: int, said: str
) -> None:
    machine(count, rank, ranks)
    with pytest.raises(BadConfig) as refused:
        devices.chosen(asked)
    assert said in f"{refused.value} {refused.value.why} {refused.value.do}"


def test_a_name_that_is_no_device_is_refused_by_the_settings() -> None:
    with pytest.raises(ValueError, match="auto, cpu, cuda or cuda:N"):
        TrainSettings(device="gpu")


def test_devices_talk_by_nccl_and_the_host_by_gloo() -> None:
    assert devices.backend(torch.device("cuda", 1)) == "cpu:gloo,cuda:nccl"
    assert devices.backend(devices.CPU) == "gloo"
