"""The command line that vLLM is started with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from undercroft.engines.served import Task, check_folder
from undercroft.engines.vllm import command
from undercroft.errors import BadConfig, BadInput
from undercroft.settings import EngineSettings


def task(**changes: object) -> Task:
    said = {"model": Path("/m"), "context": 4096, "slots": 16, "threads": 0, **changes}
    return Task.model_validate(said)


def value(words: list[str], flag: str) -> str:
    return words[words.index(flag) + 1]


def adapter(folder: Path, rank: int) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank}))
    return folder


def test_settings_become_flags() -> None:
    tuning = EngineSettings(
        gpus=2, gpu_memory=0.5, kv_cache="q8_0", speculation="ngram", vllm_flags=["--seed", "7"]
    )
    words = command(task(tuning=tuning), 9000)
    assert words[:3] == ["vllm", "serve", "/m"]
    assert value(words, "--port") == "9000"
    assert value(words, "--max-model-len") == "4096"
    assert value(words, "--max-num-seqs") == "16"
    assert value(words, "--tensor-parallel-size") == "2"
    assert value(words, "--gpu-memory-utilization") == "0.5"
    assert value(words, "--kv-cache-dtype") == "fp8"
    assert json.loads(value(words, "--speculative-config"))["method"] == "ngram"
    assert words[-2:] == ["--seed", "7"]
    assert "--enable-lora" not in words


def test_adapters_are_modules_of_a_rank_that_all_fit_in(tmp_path: Path) -> None:
    adapters = {f"adapter:{rank}@1": adapter(tmp_path / str(rank), rank) for rank in (4, 20)}
    words = command(task(adapters=adapters), 9000)
    assert value(words, "--max-lora-rank") == "32"
    assert value(words, "--max-loras") == "2"
    assert f"adapter:4@1={tmp_path / '4'}" in words


def test_what_vllm_cannot_serve_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="rank 1024"):
        command(task(adapters={"a": adapter(tmp_path / "a", 1024)}), 9000)
    (tmp_path / "b").mkdir()
    with pytest.raises(BadInput, match="no LoRA adapters"):
        command(task(adapters={"b": tmp_path / "b"}), 9000)


def test_a_file_is_no_model_folder(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").touch()
    with pytest.raises(BadInput, match="not a model folder"):
        check_folder(tmp_path / "m.gguf")
