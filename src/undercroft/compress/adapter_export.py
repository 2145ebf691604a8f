"""One folder of LoRA adapters as PEFT writes them -> one GGUF file that llama.cpp applies.

The tensors are those of `gguf_export` with ``.lora_a`` (rank, in) and ``.lora_b`` (out, rank) after
their names; what the rotation of positions asks of a layer's rows, it asks of ``.lora_b``'s rows.
llama.cpp multiplies by alpha / rank itself (``llama-adapter.h``, `get_scale`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from undercroft.compress.architectures import Architecture, architecture_of, gguf_name, permute
from undercroft.compress.weights import Weights
from undercroft.errors import BadInput, MissingExtra

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
PREFIX = "base_model.model."
PARTS = {".lora_A.weight": ".lora_a", ".lora_B.weight": ".lora_b"}

#: What PEFT can do and a GGUF adapter cannot say.
UNSAYABLE = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "fan_in_fan_out")


def export_adapter(adapter: Path, model: Path, out: Path, name: str = "") -> Path:
    """Write the adapters in the folder ``adapter`` for models like the one in the folder ``model``.

    Of ``model`` only ``config.json`` is read: the base and what was merged have the same. Raises
    `BadInput` when there are no LoRA adapters, they are of a kind that llama.cpp does not know, or
    they are of another model; nothing is written then.
    """
    try:
        import gguf
    except ImportError:
        raise MissingExtra("gguf", "train") from None
    lora = _lora(adapter)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    architecture = architecture_of(config)
    weights = Weights(adapter, single=WEIGHTS_FILE)
    tensors = {_named(architecture, source): source for source in weights}
    writer = gguf.GGUFWriter(None, architecture.name)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, _alpha(lora))
    writer.add_name(name or adapter.name)
    for (target, heads_key), source in sorted(tensors.items()):
        array = weights[source]
        if heads_key and target.endswith(".lora_b"):
            array = permute(array, config.get(heads_key) or config["num_attention_heads"])
        writer.add_tensor(target, np.ascontiguousarray(array, np.float32))
    writer.write_header_to_file(out)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def _lora(folder: Path) -> Mapping[str, Any]:
    """PEFT's configuration, if it is of plain LoRA."""
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(
            f"There are no LoRA adapters in {folder}.",
            f"{type(error).__name__}: {error}.",
            "Train with lora_rank above 0 to get some.",
        ) from None
    odd = [key for key in UNSAYABLE if config.get(key)]
    if config.get("peft_type") != "LORA" or odd:
        kind = f"LoRA with {', '.join(odd)}" if odd else str(config.get("peft_type"))
        raise BadInput(
            f"The adapters in {folder} are {kind}.",
            "llama.cpp applies plain LoRA of one rank and alpha.",
            "Serve the merged model.",
        )
    return config


def _alpha(lora: Mapping[str, Any]) -> float:
    """What llama.cpp is to divide by the rank; PEFT's rsLoRA divides by the rank's root."""
    alpha, rank = float(lora["lora_alpha"]), int(lora["r"])
    return alpha * math.sqrt(rank) if lora.get("use_rslora") else alpha


def _named(architecture: Architecture, source: str) -> tuple[str, str]:
    """llama.cpp's name for a tensor of an adapter, and the config key of its heads or nothing."""
    for ending, part in PARTS.items():
        if source.startswith(PREFIX) and source.endswith(ending):
            layer = source.removeprefix(PREFIX).removesuffix(ending) + ".weight"
            name, heads_key = gguf_name(architecture, layer)
            return name + part, heads_key or ""
    raise BadInput(
        f"The adapters hold {source}, which is no part of a LoRA adapter.",
        "Leaving it out would change what the model answers.",
        "Serve the merged model.",
    )
