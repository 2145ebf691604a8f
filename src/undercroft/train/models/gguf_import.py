"""A GGUF file of the Llama family -> a Hugging Face model folder, dequantised.

Own code rather than transformers' ``gguf_file=``: that needs accelerate, takes four times as long
for this model, refuses to save what it loaded, and loses the rule by which llama.cpp splits text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from undercroft.errors import BadInput, MissingExtra

Progress = Callable[[int, int], None]

_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OUTER = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_CONTROL = 3  # gguf.TokenType.CONTROL
_SPLITTERS = ("smollm", "gpt-2", "default")


def import_gguf(path: Path, out: Path, progress: Progress) -> dict[str, Any]:
    """Write ``config.json``, ``model.safetensors`` (bf16) and the tokenizer to ``out``.

    Returns the file's metadata. Raises `BadInput` for an architecture or a tokenizer it does not
    know, and `MissingExtra` without the ``train`` extra.
    """
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise MissingExtra("gguf", "train") from error
    try:
        reader = GGUFReader(path)
        metadata = {name: field.contents() for name, field in reader.fields.items()}
    except (OSError, ValueError, IndexError) as error:
        raise BadInput(f"{path} is not a GGUF file.", f"{error}.") from error
    _demand_known(path, metadata)
    out.mkdir(parents=True, exist_ok=True)
    _write_weights(reader.tensors, metadata, out, progress)
    has_head = any(tensor.name == "output.weight" for tensor in reader.tensors)
    _write_json(out / "config.json", _config(metadata, tied=not has_head))
    _write_tokenizer(metadata, out)
    return metadata


def _demand_known(path: Path, metadata: Mapping[str, Any]) -> None:
    architecture = metadata.get("general.architecture")
    splitter = metadata.get("tokenizer.ggml.pre", "default")
    is_bytes = metadata.get("tokenizer.ggml.model") == "gpt2"
    if architecture == "llama" and is_bytes and splitter in _SPLITTERS:
        return
    raise BadInput(
        f"{path} cannot be turned into a model folder.",
        f"Its architecture is {architecture!r} and its tokenizer {splitter!r}; read are 'llama' "
        f"with {', '.join(map(repr, _SPLITTERS))}.",
        "Give a Hugging Face folder of the same model as model.base.",
    )


def _write_weights(
    tensors: Any, metadata: Mapping[str, Any], out: Path, progress: Progress
) -> None:
    import torch
    from gguf import dequantize
    from safetensors.torch import save_file

    heads = {
        "attn_q": int(metadata["llama.attention.head_count"]),
        "attn_k": int(metadata["llama.attention.head_count_kv"]),
    }
    weights: dict[str, Any] = {}
    for number, tensor in enumerate(tensors, start=1):
        array = dequantize(tensor.data, tensor.tensor_type)
        part = tensor.name.split(".")[2] if tensor.name.startswith("blk.") else ""
        if part in heads:
            array = _unrotated(array, heads[part])
        weights[_hugging_face_name(tensor.name)] = torch.tensor(array, dtype=torch.bfloat16)
        progress(number, len(tensors))
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})


def _hugging_face_name(name: str) -> str:
    if name in _OUTER:
        return _OUTER[name]
    _, layer, part, kind = name.split(".")
    return f"model.layers.{layer}.{_BLOCK[part]}.{kind}"


def _unrotated(array: Any, heads: int) -> Any:
    """Undo llama.cpp's order of rotary rows: pairs of neighbours back to two halves.

    Inverse of ``permute`` in llama.cpp's ``convert_hf_to_gguf.py``.
    """
    half = array.shape[0] // heads // 2
    return array.reshape(heads, half, 2, -1).swapaxes(1, 2).reshape(array.shape)


def _config(metadata: Mapping[str, Any], *, tied: bool) -> dict[str, Any]:
    heads = metadata["llama.attention.head_count"]
    width = metadata["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": width,
        "intermediate_size": metadata["llama.feed_forward_length"],
        "num_hidden_layers": metadata["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": metadata["llama.attention.head_count_kv"],
        "head_dim": metadata.get("llama.rope.dimension_count", width // heads),
        "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
        "max_position_embeddings": metadata["llama.context_length"],
        "rms_norm_eps": round(float(metadata["llama.attention.layer_norm_rms_epsilon"]), 9),
        "rope_theta": float(metadata.get("llama.rope.freq_base", 10000.0)),
        "tie_word_embeddings": tied,
        "bos_token_id": metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": metadata["tokenizer.ggml.eos_token_id"],
        "pad_token_id": metadata.get("tokenizer.ggml.padding_token_id"),
        "dtype": "bfloat16",
    }


def _write_tokenizer(metadata: Mapping[str, Any], out: Path) -> None:
    """``tokenizer.json`` of byte-level BPE that splits text as llama.cpp does with this file."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: n for n, token in enumerate(tokens)}, merges))
    pieces: list[Any] = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    if metadata.get("tokenizer.ggml.pre") == "smollm":
        pieces.insert(0, pre_tokenizers.Digits(individual_digits=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(pieces)
    tokenizer.decoder = decoders.ByteLevel()
    types = metadata["tokenizer.ggml.token_type"]
    control = [token for token, kind in zip(tokens, types, strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    tokenizer.save(str(out / "tokenizer.json"))
    roles = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    special = {
        f"{role}_token": tokens[metadata[key]]
        for role, name in roles.items()
        if (key := f"tokenizer.ggml.{name}_token_id") in metadata
    }
    _write_json(
        out / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "model_max_length": metadata["llama.context_length"],
            "chat_template": metadata.get("tokenizer.chat_template", ""),
            **special,
        },
    )


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
