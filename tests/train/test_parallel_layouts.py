"""However a model lies over processes, every step has the loss and gradient of one process.

`tests.train.layouts` without names goes through all layouts and objectives; here are those that
between them use every part once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.train.layouts import STEPS, is_possible

TOGETHER = [
    "one-recomputed/sft",
    "fsdp2-recomputed/sft",
    "tp2-sequence/sft",
    "tp2/dpo-lora",
    "pp2-interleaved/sft",
    "pp2-zero-bubble/sft",
    "hsdp2x2/dpo-lora",
    "fsdp2xtp2/sft",
    "fsdp2xtp2/sft-fp16",
    "tp2xpp2/dpo",
]
RELAY = ["fsdp2xtp2/sft", "pp2/sft", "one/sft"]

Points = dict[str, list[list[float]]]


def carried_out(folder: Path, *arguments: str) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(["src", "."]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.train.layouts", *arguments]
    subprocess.run(command, env=environ, check=True, timeout=900)


@pytest.fixture(scope="module")
def points(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Points:
    out = tmp_path_factory.mktemp("layouts")
    goals = sorted({name.split("/")[1] for name in TOGETHER})
    carried_out(out, str(tiny), str(out), *(f"one/{goal}" for goal in goals), *TOGETHER)
    return {
        path.stem.replace(".", "/"): json.loads(path.read_text())["points"]
        for path in out.glob("*.json")
    }


@pytest.mark.parametrize("name", TOGETHER)
def test_losses_and_gradient_norms_are_those_of_one_process(points: Points, name: str) -> None:
    assert is_possible(*name.split("/"))
    alone = points[f"one/{name.split('/')[1]}"]
    assert len(alone) == STEPS
    for here, there in zip(points[name], alone, strict=True):
        assert here == pytest.approx(there, rel=1e-3 if name.endswith("fp16") else 1e-5)


def test_a_run_of_four_goes_on_as_two_in_another_layout_and_as_one(
    tiny: Path, tmp_path: Path
) -> None:
    """Each rank wrote what it held, and reads what it holds now."""
    carried_out(tmp_path, "--relay", str(tiny), str(tmp_path), *RELAY)
    straight, *parts = (
        json.loads((tmp_path / f"relay-{n}.json").read_text()) for n in range(len(RELAY) + 1)
    )
    assert [len(part) for part in parts] == [STEPS] * 3
    found = [value for part in parts for point in part for value in point]
    assert found == pytest.approx([value for point in straight for value in point], rel=1e-5)
    first = sorted(path.name for path in (tmp_path / "relay" / f"checkpoint-{3 * STEPS}").iterdir())
    assert first == ["manifest.json", "state.json", "tensors.safetensors"]
