"""An embedding model made in a second, and the language reference as a searchable index."""

from __future__ import annotations

import json
import pydoc_data.topics
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from undercroft.lake import Lake
from undercroft.retrieve import Embedder, Retriever, build
from undercroft.retrieve.distil import locate, principal_components, sif_weights
from undercroft.settings import IndexSettings


@pytest.fixture(scope="session")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM's own input vectors in the static format: what distilling starts from, for free."""
    from safetensors.numpy import load_file, save_file

    source = Path(locate("all-MiniLM-L6-v2"))
    out = tmp_path_factory.mktemp("embedding")
    weights = load_file(source / "model.safetensors")
    rows = weights["embeddings.word_embeddings.weight"].astype(np.float32)
    vectors = principal_components(rows, 64) * sif_weights(len(rows))
    save_file({"embeddings": vectors.astype(np.float16)}, out / "model.safetensors")
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    (out / "tokenizer.json").write_text(json.dumps(tokenizer))
    return out


@pytest.fixture(scope="session")
def embedder(embedding: Path) -> Embedder:
    return Embedder.load(embedding)


def documents(texts: dict[str, str]) -> pa.Table:
    return pa.table(
        {
            "id": [f"id-{name}" for name in texts],
            "uri": [f"py:{name}" for name in texts],
            "title": [text.strip().split("\n")[0] for text in texts.values()],
            "text": pa.array(texts.values(), pa.large_string()),
        }
    )


@pytest.fixture(scope="session")
def reference(embedder: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    """The index of Python's language reference, as every Python ships it."""
    lake = Lake(tmp_path_factory.mktemp("lake"))
    topics = documents(pydoc_data.topics.topics)
    version = build(lake, topics, embedder, IndexSettings(), lambda done, total: None)
    return Retriever(lake.table("vectors"), version, embedder)
