from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from undercroft.errors import BadInput, MissingExtra, NotFound
from undercroft.train.models import folders
from undercroft.train.models.gguf_import import import_gguf


def nothing(done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def smollm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("smollm")
    facts = folders.fetch_base(folders.WHEEL_MODEL, Path.cwd(), out, nothing)
    assert facts["licence"] == "apache-2.0"
    assert facts["parameters"] == 134_515_008
    assert facts["architecture"] == "LlamaForCausalLM"
    return out


def test_the_wheel_model_knows_the_capital_of_france(smollm: Path) -> None:
    model, tokenizer = folders.load(smollm, "bf16")
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    with torch.no_grad():
        out = model.generate(ids, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(out[0, ids.shape[1] :])


def test_its_tokenizer_agrees_with_llama_cpp(smollm: Path) -> None:
    # Token ids of llama.cpp's own tokenizer for this GGUF ("smollm": each digit apart).
    _, tokenizer = folders.load(smollm, "bf16")
    pieces = tokenizer.tokenize("x1234 don't\n\n  y<|im_end|>")
    assert pieces[:5] == ["x", "1", "2", "3", "4"]
    assert pieces[-1] == "<|im_end|>"
    assert tokenizer.decode(tokenizer("naïve 3.5 €")["input_ids"]) == "naïve 3.5 €"


def test_a_folder_is_a_base(tiny: Path, tmp_path: Path) -> None:
    facts = folders.fetch_base(str(tiny), tmp_path, tmp_path / "out", nothing)
    assert facts["layers"] == 2
    model, tokenizer = folders.load(tmp_path / "out", "fp32")
    original, _ = folders.load(tiny, "fp32")
    assert tokenizer.chat_template
    for mine, theirs in zip(model.parameters(), original.parameters(), strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-2)


def test_a_base_without_a_chat_template_gets_a_plain_one(tiny: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(tiny, bare)
    config = json.loads((bare / "tokenizer_config.json").read_text())
    del config["chat_template"]
    (bare / "tokenizer_config.json").write_text(json.dumps(config))
    (bare / "README.md").write_text("---\nlicense: mit\n---\n# bare\n")
    facts = folders.fetch_base("bare", tmp_path, tmp_path / "out", nothing)
    assert facts["licence"] == "mit"
    _, tokenizer = folders.load(tmp_path / "out", "fp32")
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    whole = tokenizer.apply_chat_template(chat, tokenize=False)
    prompt = tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
    assert whole.startswith(prompt)
    assert whole[len(prompt) :].strip() == "Ho<|im_end|>"


def test_an_unknown_base_says_what_to_do_offline(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"set model\.base to the folder") as caught:
        folders.fetch_base("smollm2-135m-instrukt", tmp_path, tmp_path / "out", nothing)
    assert "smollm2-135m-instruct" in str(caught.value)


def test_a_folder_that_is_no_model_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"config\.json"):
        folders.fetch_base("empty", tmp_path, tmp_path / "out", nothing)


def test_a_file_that_is_not_gguf_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + np.random.default_rng(0).bytes(200))
    with pytest.raises(BadInput):
        import_gguf(bad, tmp_path / "out", nothing)


def test_a_missing_wheel_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "WHEEL_PACKAGE", "no_such_package")
    with pytest.raises(MissingExtra, match=r"undercroft\[models\]"):
        folders.wheel_file()
