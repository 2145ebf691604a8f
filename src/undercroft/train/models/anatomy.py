"""The sizes of a Llama-style model, and how many parameters they make; nothing is allocated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from undercroft.errors import BadInput, NotFound


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A stack of blocks of attention and gated feed-forward, between embeddings and a head."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int
    is_tied: bool = True
    has_biases: bool = False
    has_head_norms: bool = False

    @property
    def matrices(self) -> int:
        """Parameters of a block that tensor ranks share."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = 2 * self.width * (queries + keys) + self.biases
        return attention + 3 * self.width * self.feed_forward

    @property
    def biases(self) -> int:
        """Of a block, those of queries, keys and values."""
        return (self.heads + 2 * self.kv_heads) * self.head_dim * self.has_biases

    @property
    def norms(self) -> int:
        """Those of a block that they do not."""
        return 2 * self.width + 2 * self.head_dim * self.has_head_norms

    @property
    def embedding(self) -> int:
        return self.vocabulary * self.width

    @property
    def parameters(self) -> int:
        ends = self.embedding * (1 if self.is_tied else 2) + self.width
        return self.layers * (self.matrices + self.norms) + ends

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Anatomy:
        """That of a Hugging Face ``config.json``; raises `BadInput` for another kind of model."""
        kind = config.get("model_type") if isinstance(config, Mapping) else None
        if kind not in _KINDS or config.get("mlp_bias") or config.get("attention_bias"):
            raise BadInput(
                f"The size of a model of the kind {kind!r} is not known here.",
                f"Known are {', '.join(_KINDS)}, without biases but those of qwen2.",
                "Take one of these, or name a size: undercroft plan --help",
            )
        try:
            heads, width = config["num_attention_heads"], config["hidden_size"]
            sizes = (
                config["num_hidden_layers"],
                width,
                heads,
                config.get("num_key_value_heads") or heads,
                config.get("head_dim") or width // max(heads, 1),
                config["intermediate_size"],
                config["vocab_size"],
            )
            if not all(isinstance(each, int) and each > 0 for each in sizes):
                raise TypeError("size above 0 for each of layers, width, heads, blocks and tokens")
            return cls(
                *sizes,
                bool(config.get("tie_word_embeddings", False)),
                has_biases=kind == "qwen2",
                has_head_norms=kind == "qwen3",
            )
        except (KeyError, TypeError) as error:
            raise BadInput(
                "This is not the configuration of a model.",
                f"It has no {error}.",
                "It is config.json of a Hugging Face folder.",
            ) from None


_KINDS: Final = ("llama", "mistral", "qwen2", "qwen3")

#: 135M is SmolLM2's (Ben Allal et al. 2025); 1B and 3B are Llama 3.2's; 8B, 70B and 405B those of
#: Grattafiori et al. ("The Llama 3 Herd of Models", 2024, table 3).
SIZES: Final[dict[str, Anatomy]] = {
    "135M": Anatomy(30, 576, 9, 3, 64, 1536, 49_152),
    "1B": Anatomy(16, 2048, 32, 8, 64, 8192, 128_256),
    "3B": Anatomy(28, 3072, 24, 8, 128, 8192, 128_256),
    "8B": Anatomy(32, 4096, 32, 8, 128, 14_336, 128_256, is_tied=False),
    "70B": Anatomy(80, 8192, 64, 8, 128, 28_672, 128_256, is_tied=False),
    "405B": Anatomy(126, 16_384, 128, 8, 128, 53_248, 128_256, is_tied=False),
}


def anatomy(name: str) -> Anatomy:
    """Of a size such as 8B, or of the model in a folder or ``config.json``; raises `NotFound`."""
    if name.upper() in SIZES:
        return SIZES[name.upper()]
    path = Path(name)
    path = path / "config.json" if path.is_dir() else path
    try:
        return Anatomy.of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise NotFound(
            f"There is no model {name!r} to plan for.",
            do=f"Name one of {', '.join(SIZES)}, a model's folder or its config.json ({error}).",
        ) from None
