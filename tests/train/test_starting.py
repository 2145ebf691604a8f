"""What is wrong with a model is said before it is trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from undercroft.errors import BadConfig, BadInput
from undercroft.settings import AlignSettings, ParallelSettings, TrainSettings
from undercroft.train.models.starting import start


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def configured(folder: Path, **changed: Any) -> None:
    path = folder / "tokenizer_config.json"
    known = {**json.loads(path.read_text(encoding="utf-8")), **changed}
    path.write_text(json.dumps({k: v for k, v in known.items() if v is not None}), encoding="utf-8")


@pytest.mark.parametrize("bits", [0, 4])
def test_a_weight_that_is_no_number_is_named(folder: Path, bits: int) -> None:
    if bits:
        pytest.importorskip("bitsandbytes")
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match="not all numbers") as error:
        start(folder, TrainSettings(lora_rank=4, lora_bits=bits))
    assert "model.layers.1.mlp.up_proj.weight" in error.value.why


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(folder: Path) -> None:
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    tokenizer["model"]["vocab"]["zebra"] = 259
    path.write_text(json.dumps(tokenizer), encoding="utf-8")
    with pytest.raises(BadInput, match="tokenizer is not this model's") as error:
        start(folder, TrainSettings())
    assert "up to number 259, and the model knows 259" in error.value.why


def test_a_tokenizer_that_ends_nothing_is_refused(folder: Path) -> None:
    configured(folder, eos_token=None)
    with pytest.raises(BadInput, match="names no token that ends an answer"):
        start(folder, TrainSettings())


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ messages[0]['content'] | upper }}", "leaves out what was said: 'Be brief.'"),
        ("{{ raise_exception('System role not supported') }}", "System role not supported"),
        ("{% for m in messages %}{{ m['content'] }", "fails on a chat"),
    ],
)
def test_a_chat_template_that_writes_no_chat_is_refused(
    folder: Path, template: str, why: str
) -> None:
    configured(folder, chat_template=template)
    with pytest.raises(BadInput, match="chat template cannot be used") as error:
        start(folder, TrainSettings())
    assert why in error.value.why


def test_a_tokenizer_without_a_chat_template_is_refused(folder: Path) -> None:
    configured(folder, chat_template=None)
    with pytest.raises(BadInput, match="has no chat template"):
        start(folder, TrainSettings())


@pytest.mark.parametrize(
    ("params", "what"),
    [
        (TrainSettings(lora_bits=4), "no adapters are trained"),
        (AlignSettings(lora_bits=4, objective="reward"), "reward model cannot"),
        (
            TrainSettings(
                lora_bits=4, lora_rank=4, parallel=ParallelSettings(processes=2, shard=2)
            ),
            "cannot be spread",
        ),
    ],
)
def test_four_bits_where_they_cannot_be_are_refused(folder: Path, params: Any, what: str) -> None:
    with pytest.raises(BadConfig, match=what):
        start(folder, params)


def test_a_sound_model_starts_with_adapters_if_they_are_asked_for(folder: Path) -> None:
    assert start(folder, TrainSettings())[2] is None
    model, _, shape = start(folder, TrainSettings(lora_rank=4))
    assert shape is not None
    assert any("lora_A" in name for name, _ in model.named_parameters())
