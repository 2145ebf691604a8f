"""A tiny model of random weights in a GGUF file, on which two engines are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undercroft.errors import MissingExtra

VOCABULARY = 320
WIDTH, INNER, BLOCKS, HEADS, KV_HEADS, HEAD = 256, 512, 2, 4, 2, 64
CONTEXT = 512

Array = NDArray[np.float32]


def write_tiny(out: Path, matrices: str, seed: int = 0) -> Path:
    """Write to ``out`` a llama of two blocks whose ``matrices`` are of that GGML type, by name.

    The shapes are multiples of what packed kernels take at once, so that those are what runs.
    Raises `MissingExtra` without the ``gguf`` package.
    """
    try:
        import gguf
    except ImportError:
        raise MissingExtra("gguf", "train") from None
    writer = gguf.GGUFWriter(out, "llama")
    _describe(writer)
    draw = np.random.default_rng(seed)
    kind = gguf.GGMLQuantizationType[matrices]
    for name, shape in _shapes().items():
        if len(shape) == 1:
            writer.add_tensor(name, np.ones(shape, np.float32))
            continue
        scale = 1.0 if name == "token_embd.weight" else 2.0 / np.sqrt(shape[1])
        array: Array = (draw.standard_normal(shape) * scale).astype(np.float32)
        writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def _describe(writer: Any) -> None:
    writer.add_vocab_size(VOCABULARY)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(BLOCKS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"t{number}" for number in range(VOCABULARY)])
    writer.add_token_types([1] * VOCABULARY)
    writer.add_token_merges(["t 1"])


def _shapes() -> dict[str, tuple[int, ...]]:
    """Tensor -> (rows, columns)."""
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCABULARY, WIDTH)}
    for number in range(BLOCKS):
        block = {
            "attn_norm": (WIDTH,),
            "attn_q": (HEADS * HEAD, WIDTH),
            "attn_k": (KV_HEADS * HEAD, WIDTH),
            "attn_v": (KV_HEADS * HEAD, WIDTH),
            "attn_output": (WIDTH, HEADS * HEAD),
            "ffn_norm": (WIDTH,),
            "ffn_gate": (INNER, WIDTH),
            "ffn_up": (INNER, WIDTH),
            "ffn_down": (WIDTH, INNER),
        }
        shapes |= {f"blk.{number}.{name}.weight": shape for name, shape in block.items()}
    return shapes | {"output_norm.weight": (WIDTH,), "output.weight": (VOCABULARY, WIDTH)}
