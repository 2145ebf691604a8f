"""Models that no process holds whole: how they begin, and how they are saved."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.train.absences import SHARDS
from undercroft.errors import BadInput
from undercroft.train.models import absent, folders, lora, scratch
from undercroft.train.parallel import device as devices

SHAPE = scratch.Shape(2, 32, 4, 2, 300, 64)


def test_a_rank_never_holds_more_of_a_new_model_than_its_share(tmp_path: Path) -> None:
    """And what it holds are the weights that one process would have drawn."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(["src", "."]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.train.absences", str(tmp_path), "8", "320"]
    subprocess.run(command, env=environ, check=True, timeout=900)
    found = [json.loads((tmp_path / f"rank-{n}.json").read_text()) for n in range(SHARDS)]
    assert max(each["peak"] for each in found) < 0.45 * found[0]["size"]
    assert sum(each["looked_at"] for each in found) > 8
    assert not any(each["differs"] for each in found)


def whole() -> torch.nn.Module:
    return scratch.build(SHAPE, "fp32", 7, {})


def empty() -> torch.nn.Module:
    return scratch.build(SHAPE, "fp32", 7, {}, scratch.ABSENT)


@pytest.mark.parametrize("at_once", [64, 2**22])
def test_any_block_of_a_weight_is_drawn_as_in_the_whole(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(scratch, "_DRAWN_AT_ONCE", at_once)
    drawn = scratch.Drawn(3, 4, {"a.weight": (77, 33)})
    all_of_it = drawn.part("a.weight", (0, 0), (77, 33))
    assert torch.equal(drawn.part("a.weight", (30, 11), (40, 22)), all_of_it[30:70, 11:])
    monkeypatch.setattr(scratch, "_DRAWN_AT_ONCE", 2**30)
    assert torch.equal(drawn.part("a.weight", (0, 0), (77, 33)), all_of_it)


def test_a_model_is_filled_from_files_that_are_not_read_whole(tiny: Path) -> None:
    model, _ = folders.load_absent(tiny, "fp32")
    assert {weight.device.type for weight in model.parameters()} == {"meta"}
    expected, _ = folders.load(tiny, "fp32")
    source = absent.source_of(model)
    assert source is not None
    for name in absent.settle(model, devices.CPU):
        weight = model.get_parameter(name)
        weight.data.copy_(source.part(name, (0,) * weight.ndim, weight.shape))
    ids = torch.arange(9)[None]
    assert torch.equal(model(ids).logits, expected(ids).logits)
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_a_folder_that_lacks_a_weight_is_refused_before_ranks_wait_for_it(
    tiny: Path, tmp_path: Path
) -> None:
    for file in tiny.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(BadInput, match="does not hold the whole model"):
        folders.load_absent(tmp_path, "fp32")


def test_what_is_saved_file_by_file_is_the_model(tmp_path: Path) -> None:
    absent.save(empty(), tmp_path, torch.float32, most_bytes=30_000)
    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert len(files) > 3
    assert sorted(set(index["weight_map"].values())) == files
    found = AutoModelForCausalLM.from_pretrained(tmp_path)
    for name, weight in whole().named_parameters():
        assert torch.equal(found.get_parameter(name), weight), name


def test_adapters_are_merged_into_weights_that_are_elsewhere(tmp_path: Path) -> None:
    models = {"whole": whole(), "empty": empty()}
    for name, model in models.items():
        lora.adapt(model, lora.Lora(4, 8.0), seed=1)
        for number, layer in enumerate(lora._adapted(model).values()):
            draw = torch.Generator().manual_seed(number)
            torch.nn.init.normal_(layer.lora_B.weight, generator=draw)
        lora.end(model, lora.Lora(4, 8.0), tmp_path / name / "adapter", "base")
    absent.save(models["empty"], tmp_path / "empty", torch.float32)
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "empty")
    for name, weight in models["whole"].named_parameters():
        torch.testing.assert_close(found.get_parameter(name), weight)
    written = [tmp_path / name / "adapter" / lora.WEIGHTS_FILE for name in models]
    assert written[0].read_bytes() == written[1].read_bytes()
