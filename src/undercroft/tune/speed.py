"""How fast an engine reads prompts and writes answers, by its own clock, one request at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from undercroft.engines.client import EngineClient
from undercroft.tune.work import Task

ANSWER_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second: ``prefill`` of prompts, ``decode`` of answers."""

    prefill: float
    decode: float


async def measured(client: EngineClient, tasks: Sequence[Task]) -> Speed:
    """Over all of ``tasks``, whose answers are written greedily and prompts never remembered."""
    read, read_ms, written, written_ms = 0, 0.0, 0, 0.0
    for task in tasks:
        body: dict[str, Any] = {
            "prompt": await client.render(task.chat),
            "n_predict": ANSWER_TOKENS,
            "temperature": 0.0,
            "cache_prompt": False,
        }
        timings = (await client.post("/completion", body))["timings"]
        read += timings["prompt_n"]
        read_ms += timings["prompt_ms"]
        written += timings["predicted_n"]
        written_ms += timings["predicted_ms"]
    return Speed(read / max(read_ms, 1e-9) * 1000, written / max(written_ms, 1e-9) * 1000)
