"""Texts to vectors with a static model: a table look-up and a mean, tens of microseconds each.

The folder is in Model2Vec's format (``model.safetensors``, ``tokenizer.json``, ``config.json``)
and is read without torch, transformers or model2vec.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undercroft.errors import BadInput

if TYPE_CHECKING:
    import numpy as np

    Matrix = np.ndarray[Any, np.dtype[np.float32]]

_WEIGHTS = "model.safetensors"
_TOKENIZER = "tokenizer.json"


class Embedder:
    """A static embedding model: ``vectors`` [tokens, dim] float32 and its tokenizer."""

    def __init__(self, vectors: Matrix, tokenizer: Any, path: Path) -> None:
        self.vectors = vectors
        self._tokenizer = tokenizer
        self._path = path

    @classmethod
    def load(cls, path: Path) -> Embedder:
        """Read the model in folder ``path``; raises `BadInput` when it holds none."""
        import numpy as np
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        try:
            vectors = load_file(path / _WEIGHTS)["embeddings"].astype(np.float32)
            tokenizer = Tokenizer.from_file(str(path / _TOKENIZER))
        except Exception as error:  # tokenizers raises bare Exception
            raise BadInput(
                f"{path} is not a static embedding model.",
                str(error),
                "Make one with the distil stage.",
            ) from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return cls(vectors, tokenizer, path)

    @property
    def dimensions(self) -> int:
        return int(self.vectors.shape[1])

    @cached_property
    def digest(self) -> str:
        """SHA-256 over weights and tokenizer: what an index was built with."""
        whole = hashlib.sha256()
        for name in (_WEIGHTS, _TOKENIZER):
            whole.update((self._path / name).read_bytes())
        return whole.hexdigest()

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Unit vectors [len(texts), dim]; a text without a known token gets the zero vector."""
        import numpy as np

        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        found = np.zeros((len(texts), self.dimensions), np.float32)
        for row, tokens in enumerate(encoded):
            if tokens.ids:
                found[row] = self.vectors[tokens.ids].mean(axis=0)
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        np.divide(found, norms, out=found, where=norms > 0)
        return found
