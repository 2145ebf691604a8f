from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from undercroft.compress import export
from undercroft.compress.weights import Weights
from undercroft.errors import BadInput


def edit(folder: Path, name: str, **changes: Any) -> None:
    file = folder / name
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def refused(folder: Path, form: str = "f16") -> str:
    with pytest.raises(BadInput) as caught:
        export(folder, folder / "out.gguf", form)
    assert not (folder / "out.gguf").exists()
    return str(caught.value)


@pytest.fixture
def model(tiny_folder: Path) -> Path:
    return tiny_folder


def test_an_unsupported_architecture_names_the_supported(model: Path) -> None:
    edit(model, "config.json", architectures=["MambaForCausalLM"])
    said = refused(model)
    assert "MambaForCausalLM" in said
    assert "LlamaForCausalLM, Qwen2ForCausalLM" in said


def test_scaled_rotary_positions_are_refused(model: Path) -> None:
    edit(model, "config.json", rope_parameters={"rope_type": "yarn", "rope_theta": 1e4})
    assert "'yarn'" in refused(model)


def test_an_unknown_format_gets_the_nearest(model: Path) -> None:
    assert "nearest is 'q8_0'" in refused(model, "q8")


def test_a_folder_without_weights_or_tokenizer_says_so(model: Path) -> None:
    (model / "tokenizer.json").rename(model / "other.json")
    assert "no tokenizer.json" in refused(model)
    (model / "model.safetensors").unlink()
    assert "no safetensors weights" in refused(model)


def test_weights_of_another_model_are_refused(model: Path) -> None:
    edit(model, "config.json", vocab_size=100)
    assert "embedding matrix has 49152 rows" in refused(model)


def test_a_truncated_weights_file_is_refused(model: Path) -> None:
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:200])
    assert "not a safetensors file" in refused(model)


def test_a_sentencepiece_tokenizer_is_refused(model: Path) -> None:
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["model"]["byte_fallback"] = True
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert "byte-level BPE" in refused(model)


def test_sharded_weights_of_every_number_format_read_as_float32(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    values = torch.tensor([[1.5, -2.25], [0.0, 3e-2]])
    forms = {"a": torch.bfloat16, "b": torch.float16, "c": torch.float32, "d": torch.float64}
    for name, form in forms.items():
        save_file({name: values.to(form)}, tmp_path / f"{name}.safetensors")
    index = {"weight_map": {name: f"{name}.safetensors" for name in forms}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    weights = Weights(tmp_path)
    assert list(weights) == ["a", "b", "c", "d"]
    for name, form in forms.items():
        assert weights[name].dtype == "float32"
        assert weights[name].tolist() == values.to(form).float().tolist()
