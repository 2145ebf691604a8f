"""A model folder (safetensors, config, tokenizer) -> quantised GGUF files that llama.cpp serves.

Read `export` first (one file, top to bottom); `architectures` says which models can be exported
and how their tensors are called, `tokenizer` carries the vocabulary over, `weights` reads
safetensors without loading them, `stage` names the results.
"""

from __future__ import annotations

from undercroft.compress.export import FORMATS, export

__all__ = ["FORMATS", "export"]
