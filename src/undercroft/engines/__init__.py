"""A model file -> a running engine that answers OpenAI-compatible HTTP.

In comes a GGUF file and how it is to be run (context, slots, threads); out goes a supervised child
process with a ``base_url``. Read `llamacpp` first (the engine) and `launch` (how it is told to
run), then `sampling` (how tokens are drawn) and `client` (batches of chats over HTTP, for
evaluation; the gateway has its own path). `building` compiles llama.cpp for this processor,
`probe` holds what it made against the wheel, and `native` says which is used. Engines that take
model folders are `vllm` and, slow and right, `transformers`; `served` is what both have in common.
"""

from __future__ import annotations

from undercroft.engines.child import usable_cores
from undercroft.engines.draft import with_draft_file
from undercroft.engines.engine import DEFAULT_ENGINE, ENGINES, Engine, start_engine
from undercroft.engines.llamacpp import LlamaServer
from undercroft.engines.sampling import adapter_fields, sampling_params

__all__ = [
    "DEFAULT_ENGINE",
    "ENGINES",
    "Engine",
    "LlamaServer",
    "adapter_fields",
    "sampling_params",
    "start_engine",
    "usable_cores",
    "with_draft_file",
]
