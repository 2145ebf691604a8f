"""Held-out cases and two models -> a scorecard: is the tuned model better at what will be served?

Both models answer every case as the gateway would: the same retrieval, prompt, sampling and engine.
Read `stage` first (the whole evaluation in order), then `answers` (what is measured about one
answer) and `scorecard` (what is made of it).
"""

from __future__ import annotations
