"""One model folder -> one GGUF file. Tensors are read, converted and written one at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undercroft.compress.architectures import (
    Architecture,
    architecture_of,
    gguf_name,
    permute,
    write_hyperparameters,
)
from undercroft.compress.calibration import Moments
from undercroft.compress.rounding import LEVELS, rounded
from undercroft.compress.tokenizer import read_vocabulary, write_vocabulary
from undercroft.compress.weights import Weights
from undercroft.errors import BadInput, MissingExtra, nearest

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Format:
    """GGML types of the matrices. The embeddings, often tied to the output layer, keep 8 bits in
    every quantised format: their errors reach each logit directly, as in llama.cpp's own recipes.
    Where ``output`` is named the output layer is written apart from them, in that type; ``kept``
    are matrices of a block that stay in 8 bits. Of four bits in a SmolLM2's blocks, the thirtieth
    part that attention's values are makes a third of the divergence (lab book).
    """

    matrices: str
    embeddings: str
    file_type: str
    output: str = ""
    kept: tuple[str, ...] = ()

    @property
    def is_calibrated(self) -> bool:
        """Whether it gains by knowing what layers are given (`calibration.moments`)."""
        return self.matrices in LEVELS


FORMATS: Mapping[str, Format] = {
    "f16": Format("F16", "F16", "MOSTLY_F16"),
    "q8_0": Format("Q8_0", "Q8_0", "MOSTLY_Q8_0"),
    "q5_1": Format("Q5_1", "Q8_0", "MOSTLY_Q5_1"),
    "q5_0": Format("Q5_0", "Q8_0", "MOSTLY_Q5_0"),
    "q4_1": Format("Q4_1", "Q8_0", "MOSTLY_Q4_1"),
    "q4_0": Format("Q4_0", "Q8_0", "MOSTLY_Q4_0"),
    "iq4_nl": Format("IQ4_NL", "Q8_0", "MOSTLY_IQ4_NL", output="IQ4_NL", kept=("attn_v",)),
}
EMBEDDINGS, OUTPUT = "token_embd.weight", "output.weight"
HEAD, TIED = "lm_head.weight", "model.embed_tokens.weight"


@dataclass(frozen=True, slots=True)
class _Tensor:
    """One tensor to write: where it comes from, what it becomes. ``heads`` 0: not permuted.
    ``role`` is the name of what its inputs are known by."""

    source: str
    name: str
    shape: tuple[int, ...]
    kind: Any  # gguf.GGMLQuantizationType
    heads: int
    role: str

    def convert(self, weights: Weights, moments: Moments) -> NDArray[Any]:
        from gguf import quants

        array = weights[self.source]
        if self.heads:
            array = permute(array, self.heads)
        if self.kind.name in LEVELS and (self.kind.name == "IQ4_NL" or self.role in moments):
            return rounded(array, self.kind.name, moments.get(self.role)).packed()
        quantised: NDArray[Any] = quants.quantize(array, self.kind)
        return quantised


def export(
    model: Path,
    out: Path,
    form: str,
    name: str = "",
    progress: Progress | None = None,
    *,
    moments: Moments | None = None,
) -> Path:
    """Write the model folder ``model`` to the GGUF file ``out`` in the format ``form``.

    ``moments`` of what its layers are given make four bits lose a fraction of what they lose
    without (`rounding`).

    ``progress`` is told (tensors done, tensors in all). Raises `BadInput` for an unknown format, an
    unsupported architecture or tokenizer, or weights that do not fit the configuration; nothing
    is written then.
    """
    chosen = _format(form)
    gguf = _gguf()
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    architecture = architecture_of(config)
    weights = Weights(model)
    tensors = _tensors(gguf, architecture, weights, config, chosen)
    writer = gguf.GGUFWriter(None, architecture.name)
    writer.add_type("model")
    writer.add_name(name or model.name)
    writer.add_file_type(getattr(gguf.LlamaFileType, chosen.file_type))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    write_hyperparameters(writer, config, config["vocab_size"])
    write_vocabulary(writer, read_vocabulary(model, config["vocab_size"]))
    for tensor in tensors:
        block, block_bytes = gguf.GGML_QUANT_SIZES[tensor.kind]
        size = int(np.prod(tensor.shape)) // block * block_bytes
        writer.add_tensor_info(
            tensor.name, tensor.shape, np.dtype(np.float32), size, raw_dtype=tensor.kind
        )
    writer.write_header_to_file(out)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for done, tensor in enumerate(tensors):
        if progress is not None:
            progress(done, len(tensors))
        writer.write_tensor_data(tensor.convert(weights, moments or {}))
    writer.close()
    return out


def _tensors(
    gguf: Any,
    architecture: Architecture,
    weights: Weights,
    config: Mapping[str, Any],
    chosen: Format,
) -> list[_Tensor]:
    """What to write, in order; a tied output layer is the embedding matrix and written once."""
    if "model.embed_tokens.weight" not in weights:
        raise BadInput("The weights hold no model.embed_tokens.weight.", "They are not a model's.")
    rows = weights.shape("model.embed_tokens.weight")[0]
    if rows != config["vocab_size"]:
        raise BadInput(
            f"The embedding matrix has {rows} rows, config.json says {config['vocab_size']}.",
            "Weights and configuration are not of the same model.",
        )
    is_tied = bool(config.get("tie_word_embeddings"))
    left_out = {HEAD} if is_tied else set()
    tensors = []
    for source in weights:
        if source in left_out or source.endswith("rotary_emb.inv_freq"):
            continue
        name, heads_key = gguf_name(architecture, source)
        heads = (config.get(heads_key) or config["num_attention_heads"]) if heads_key else 0
        shape = weights.shape(source)
        kind = _kind(gguf, name, shape, chosen)
        tensors.append(_Tensor(source, name, shape, kind, heads, source))
    if is_tied and chosen.output:
        shape = weights.shape(TIED)
        kind = _kind(gguf, OUTPUT, shape, chosen)
        tensors.append(_Tensor(TIED, OUTPUT, shape, kind, 0, HEAD))
    return tensors


def _kind(gguf: Any, name: str, shape: tuple[int, ...], chosen: Format) -> Any:
    """Vectors stay whole; a matrix whose rows are not whole blocks stays in 16 bits."""
    types = gguf.GGMLQuantizationType
    if len(shape) < 2:
        return types.F32
    wanted = types[_wanted(name, chosen)]
    block, _ = gguf.GGML_QUANT_SIZES[wanted]
    return wanted if shape[-1] % block == 0 else types.F16


def _wanted(name: str, chosen: Format) -> str:
    """The type of the matrix ``name``."""
    if name == OUTPUT:
        return chosen.output or chosen.embeddings
    is_kept = any(name.endswith(f".{part}.weight") for part in chosen.kept)
    return chosen.embeddings if name == EMBEDDINGS or is_kept else chosen.matrices


def _format(name: str) -> Format:
    if name not in FORMATS:
        near = nearest(name, FORMATS)
        raise BadInput(
            f"There is no format {name!r}.",
            f"The nearest is {near!r}." if near else f"Formats are {', '.join(FORMATS)}.",
            "Correct compress.formats in undercroft.toml.",
        )
    return FORMATS[name]


def _gguf() -> Any:
    try:
        import gguf
        import gguf.quants
    except ImportError:
        raise MissingExtra("gguf", "train") from None
    return gguf
