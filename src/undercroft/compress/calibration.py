"""A model and texts that it will read -> the second moments of what its layers are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from undercroft.errors import BadInput, MissingExtra

#: Tokens of a text that are read, and of all. Moments of 576 inputs settle within some thousands.
TEXT_TOKENS: Final = 512
TOKENS: Final = 4096

#: Texts that a model writes where nobody knows what it read.
WRITTEN: Final = 16

#: Layers that are given the same as another.
SHARED: Final = {"self_attn.k_proj": "self_attn.q_proj", "self_attn.v_proj": "self_attn.q_proj",
                 "mlp.up_proj": "mlp.gate_proj"}  # fmt: skip

Moments = Mapping[str, NDArray[np.float32]]
"""Name of a weight -> [inputs, inputs]: the mean of x xᵀ over the tokens."""


def moments(
    model: Path, texts: Sequence[str], progress: Callable[[int, int], None] | None = None
) -> Moments:
    """Of every matrix of the model folder ``model``, reading ``texts`` up to `TOKENS` tokens.

    The output layer's are found under ``lm_head.weight``, also where it is the embeddings. Raises
    `BadInput` when the texts have no tokens.
    """
    torch, tokenizer, network = _opened(model)
    found: dict[str, Any] = {}
    linear = [name for name, layer in network.named_modules() if isinstance(layer, torch.nn.Linear)]
    for name in linear:
        if not _shared(name):
            network.get_submodule(name).register_forward_pre_hook(_adder(found, name))
    seen = 0
    for text in texts:
        tokens = tokenizer(text, add_special_tokens=False).input_ids[:TEXT_TOKENS]
        if tokens and seen < TOKENS:
            with torch.no_grad():
                network(torch.tensor([tokens]), use_cache=False)
            seen += len(tokens)
            if progress is not None:
                progress(min(seen, TOKENS), TOKENS)
    if not seen:
        raise BadInput("There is no text to read.", "What a model is rounded by is empty.")
    return {f"{name}.weight": found[_shared(name) or name].numpy() / seen for name in linear}


def own_words(model: Path, tokens: int = TEXT_TOKENS // 2) -> list[str]:
    """What ``model`` writes of itself, `WRITTEN` texts of up to ``tokens``, the same each time: for
    one that was not trained on examples here (as Williams et al. do, arXiv 2410.17170)."""
    torch, tokenizer, network = _opened(model)
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else 0
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        begun = torch.full((WRITTEN, 1), start)
        written = network.generate(
            begun, attention_mask=torch.ones_like(begun), pad_token_id=tokenizer.eos_token_id,
            do_sample=True, max_new_tokens=tokens - 1, min_new_tokens=tokens - 1,
        )  # fmt: skip
    return [str(text) for text in tokenizer.batch_decode(written)]


def _opened(model: Path) -> tuple[Any, Any, Any]:
    """PyTorch, the tokenizer and the network of a model folder."""
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError:
        raise MissingExtra("transformers", "train") from None
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    return torch, AutoTokenizer.from_pretrained(model), network


def _adder(found: dict[str, Any], name: str) -> Any:
    def add(_layer: Any, inputs: Any) -> None:
        given = inputs[0].flatten(0, -2)
        found[name] = found.get(name, 0) + given.T @ given

    return add


def _shared(name: str) -> str:
    """The layer that is given the same as ``name``, if there is one before it."""
    for ending, other in SHARED.items():
        if name.endswith(ending):
            return name.removesuffix(ending) + other
    return ""
