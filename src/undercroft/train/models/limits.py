"""How much is computed at once, where that is a choice between time and memory."""

from __future__ import annotations

from typing import Final

#: Up to so many keys plain attention trains 1.4 times as fast on CPU as the fused kernel, whose
#: backward pass is slow there; beyond it the memory for the scores is too much.
PLAIN_KEYS: Final = 1024
#: Logits in float32 that are made at once: about what a last-level cache holds.
CHUNK_BYTES: Final = 24_000_000
