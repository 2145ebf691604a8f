"""Which models can be exported, how llama.cpp calls their tensors, and what it must know of them.

A new architecture is one more entry of `ARCHITECTURES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undercroft.errors import BadInput

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Architecture:
    """``rotary`` tensors are permuted: llama.cpp's "llama" rotates neighbouring pairs of each head
    where transformers rotates its two halves (llama.cpp ``convert_hf_to_gguf.py``, `permute`)."""

    name: str
    outer: Mapping[str, str]
    block: Mapping[str, str]
    rotary: Mapping[str, str]  # suffix of the block tensor -> config key of its number of heads


_OUTER = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_BLOCK = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}
_QKV_BIAS = {
    "self_attn.q_proj.bias": "attn_q.bias",
    "self_attn.k_proj.bias": "attn_k.bias",
    "self_attn.v_proj.bias": "attn_v.bias",
}
_LLAMA = Architecture(
    "llama",
    _OUTER,
    _BLOCK | _QKV_BIAS,
    {
        "self_attn.q_proj.weight": "num_attention_heads",
        "self_attn.q_proj.bias": "num_attention_heads",
        "self_attn.k_proj.weight": "num_key_value_heads",
        "self_attn.k_proj.bias": "num_key_value_heads",
    },
)
_QWEN2 = Architecture("qwen2", _OUTER, _BLOCK | _QKV_BIAS, {})

ARCHITECTURES: Mapping[str, Architecture] = {
    "LlamaForCausalLM": _LLAMA,
    "Qwen2ForCausalLM": _QWEN2,
}
"""By the name in ``config.json``: Llama covers SmolLM, SmolLM2, TinyLlama and Llama 2 and 3."""


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """The entry for a model's ``config.json``; raises `BadInput` naming those there are."""
    names = config.get("architectures") or ["(none named)"]
    for name in names:
        if name in ARCHITECTURES:
            return ARCHITECTURES[name]
    raise BadInput(
        f"Models of the architecture {names[0]} cannot be exported to GGUF.",
        f"Supported are {', '.join(ARCHITECTURES)}.",
        "Set model.base to a model of one of these.",
    )


def gguf_name(architecture: Architecture, name: str) -> tuple[str, str | None]:
    """llama.cpp's name for a tensor, and the config key of its heads if it is to be permuted."""
    if name in architecture.outer:
        return architecture.outer[name], None
    head, _, rest = name.removeprefix("model.layers.").partition(".")
    if head.isdigit() and rest in architecture.block:
        return f"blk.{head}.{architecture.block[rest]}", architecture.rotary.get(rest)
    raise BadInput(
        f"The model has a tensor {name}, which {architecture.name} models do not have.",
        "Exporting without it would change what the model answers.",
        "Merge adapters into the weights before exporting.",
    )


def permute(weight: Array, num_heads: int) -> Array:
    """Rows of each head from halves to neighbouring pairs; ``weight`` is [heads * dim, ...]."""
    rows = weight.reshape(num_heads, 2, weight.shape[0] // num_heads // 2, *weight.shape[1:])
    return rows.swapaxes(1, 2).reshape(weight.shape)


def write_hyperparameters(writer: Any, config: Mapping[str, Any], vocabulary: int) -> None:
    """Put what llama.cpp needs to know besides the weights into a `gguf.GGUFWriter`."""
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_vocab_size(vocabulary)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(_rope_theta(config))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])


def _rope_theta(config: Mapping[str, Any]) -> float:
    """Base of the rotary frequencies: transformers 5 nests it, 4 did not."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind != "default":
        raise BadInput(
            f"The model scales its rotary positions by {kind!r}.",
            "Only the default, unscaled, can be exported.",
            "Set model.base to a model without rope scaling.",
        )
    return float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0)
