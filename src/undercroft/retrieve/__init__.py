"""Documents in, passages out: chunks, embeddings, the hybrid index, and the prompt around them.

A dataset's documents are split into chunks (`chunk.split`), embedded (`embed.Embedder`) and
written to the lake's ``vectors`` table (`index.build`); a question then comes back with the
passages that may answer it (`index.Retriever`), which `prompt.messages` puts before the model.
Nothing here needs torch except distilling the embedding model once (`distil.distil`). Read
`prompt.py` first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from undercroft.retrieve.chunk import Chunk, split
from undercroft.retrieve.embed import Embedder
from undercroft.retrieve.prompt import REFUSAL, Template, citations, messages

if TYPE_CHECKING:
    from undercroft.retrieve.index import Retriever, build

__all__ = [
    "REFUSAL",
    "Chunk",
    "Embedder",
    "Retriever",
    "Template",
    "build",
    "citations",
    "messages",
    "split",
]


def __getattr__(name: str) -> Any:
    """Load what needs Arrow, Lance or torch when it is first asked for."""
    homes = {"Retriever": "index", "build": "index"}
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{homes[name]}"), name)
