"""A model folder (safetensors, config, tokenizer) -> quantised GGUF files that llama.cpp serves.

Read `gguf_export` first (one file, top to bottom); `architectures` says which models can be
exported and how their tensors are called, `tokenizer` carries the vocabulary over, `weights` reads
safetensors without loading them, `adapter_export` writes adapters alone, `stage` names the results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from undercroft.compress.gguf_export import FORMATS, export

__all__ = ["FORMATS", "export"]


def __getattr__(name: str) -> Any:
    """Load what needs numpy when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from undercroft.compress import gguf_export

    return getattr(gguf_export, name)
