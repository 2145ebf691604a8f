"""Documents in, passages out: chunks, embeddings, the hybrid index, and the prompt around them.

A dataset's documents are split into chunks (`chunk.split`), embedded (`embed.Embedder`) and
written to the lake's ``vectors`` table (`index.build`); a question then comes back with the
passages that may answer it (`index.Retriever`), which `prompt.messages` puts before the model.
Nothing here needs torch except distilling the embedding model once. Read `prompt.py` first.
"""

from undercroft.retrieve.prompt import REFUSAL, citations, messages

__all__ = ["REFUSAL", "citations", "messages"]
