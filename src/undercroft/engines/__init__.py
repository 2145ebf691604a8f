"""A model file -> a running engine that answers OpenAI-compatible HTTP.

In comes a GGUF file and how it is to be run (context, slots, threads); out goes a supervised child
process with a ``base_url``. Read `llamacpp` first (the engine), then `sampling` (how tokens are
drawn) and `client` (batches of chats over HTTP, for evaluation; the gateway has its own path).
"""

from __future__ import annotations

from undercroft.engines.engine import DEFAULT_ENGINE, ENGINES, Engine, start_engine
from undercroft.engines.llamacpp import LlamaServer
from undercroft.engines.sampling import sampling_params

__all__ = [
    "DEFAULT_ENGINE",
    "ENGINES",
    "Engine",
    "LlamaServer",
    "sampling_params",
    "start_engine",
]
