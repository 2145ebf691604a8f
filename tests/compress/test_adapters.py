"""Adapters alone, applied by the engine, answer as the model they were merged into."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.compress.test_export import PROMPT
from undercroft.compress import export
from undercroft.compress.adapter_export import export_adapter
from undercroft.engines import LlamaServer, adapter_fields
from undercroft.engines.client import EngineClient
from undercroft.errors import BadInput

ROUNDING, SAME = 0.02, 1e-4


@pytest.fixture(scope="module")
def adapted(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two sets of random adapters for the tiny model, ``one`` and ``two``, and a
    model with each merged, ``one-merged`` and ``two-merged``."""
    import torch
    from transformers import AutoModelForCausalLM

    from undercroft.train.models import lora

    out = tmp_path_factory.mktemp("adapted")
    for seed, name in enumerate(("one", "two")):
        model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
        shape = lora.Lora(rank=4, alpha=8.0)
        lora.adapt(model, shape, seed)
        torch.manual_seed(seed)
        for key, weight in model.named_parameters():
            if ".lora_B." in key:
                torch.nn.init.normal_(weight, std=0.3)
        lora.end(model, shape, out / name, "tiny")
        model.save_pretrained(out / f"{name}-merged")
        for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            (out / f"{name}-merged" / file).write_bytes((tiny_model / file).read_bytes())
    return out


async def likely(engine: LlamaServer, adapter: str = "") -> dict[int, float]:
    """Token -> log-probability of the likeliest next tokens."""
    body: dict[str, Any] = {"prompt": PROMPT, "n_predict": 1, "n_probs": 32, "temperature": 0.0}
    body |= adapter_fields(engine.adapters, adapter)
    async with EngineClient(engine.base_url) as client:
        (step,) = (await client.post("/completion", body))["completion_probabilities"]
    return {each["id"]: each["logprob"] for each in step["top_logprobs"]}


def apart(ours: dict[int, float], theirs: dict[int, float]) -> float:
    both = ours.keys() & theirs.keys()
    assert len(both) >= 28
    return max(abs(ours[token] - theirs[token]) for token in both)


async def of_file(file: Path) -> dict[int, float]:
    with LlamaServer.start(file, context=256, slots=1, threads=1) as engine:
        engine.wait_ready()
        return await likely(engine)


async def test_a_request_is_answered_with_the_adapter_it_names_as_the_merged_model_would(
    adapted: Path, tiny_model: Path, tmp_path: Path
) -> None:
    base = export(tiny_model, tmp_path / "base.gguf", "f16")
    files = {
        name: export_adapter(adapted / name, tiny_model, tmp_path / f"{name}.gguf")
        for name in ("one", "two")
    }
    merged = {
        name: export(adapted / f"{name}-merged", tmp_path / f"{name}-merged.gguf", "f16")
        for name in files
    }
    with LlamaServer.start(base, context=256, slots=1, threads=1, adapters=files) as engine:
        engine.wait_ready()
        assert engine.adapters == {"one": 0, "two": 1}
        plain = await likely(engine)
        ones, twos = await likely(engine, "one"), await likely(engine, "two")
        assert apart(await likely(engine), plain) < SAME  # nothing of theirs is remembered
    assert apart(plain, await of_file(base)) < SAME
    assert apart(ones, await of_file(merged["one"])) < ROUNDING
    assert apart(twos, await of_file(merged["two"])) < ROUNDING
    assert ones.keys() != plain.keys() != twos.keys()


@pytest.mark.parametrize(
    ("change", "said"),
    [({"use_dora": True}, "LoRA with use_dora"), ({"peft_type": "IA3"}, "are IA3")],
)
def test_adapters_that_llama_cpp_cannot_apply_are_refused(
    adapted: Path, tiny_model: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    config = json.loads((adapted / "one" / "adapter_config.json").read_text())
    (odd / "adapter_config.json").write_text(json.dumps(config | change))
    with pytest.raises(BadInput, match=said):
        export_adapter(odd, tiny_model, tmp_path / "odd.gguf")
    assert not (tmp_path / "odd.gguf").exists()
