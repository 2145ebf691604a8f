"""How much is computed at once, where that is a choice between time and memory."""

from __future__ import annotations

from typing import Final

#: Up to so many keys attention keeps its probabilities for the backward pass; those over more keys
#: are made again, since their memory would grow with the square of a text's length.
PLAIN_KEYS: Final = 1024
#: Logits in float32 that are made at once: about what a last-level cache holds.
CHUNK_BYTES: Final = 24_000_000
