"""How fast an engine reads prompts and writes answers, by its own clock, one request at a time."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from undercroft.engines.client import EngineClient
from undercroft.tune.work import Task

ANSWER_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second: ``prefill`` of prompts, ``decode`` of answers. ``answer_s`` is what a prompt
    of the mean length and `ANSWER_TOKENS` of an answer take at these. ``accepted`` is the share of
    guessed tokens that the model would have written itself, None when none were guessed."""

    prefill: float
    decode: float
    answer_s: float
    accepted: float | None = None


async def measured(client: EngineClient, tasks: Sequence[Task]) -> Speed:
    """Over all of ``tasks``, whose answers are written greedily and prompts never remembered."""
    total: dict[str, float] = {}
    for task in tasks:
        body: dict[str, Any] = {
            "prompt": await client.render(task.chat),
            "n_predict": ANSWER_TOKENS,
            "temperature": 0.0,
            "cache_prompt": False,
        }
        for key, value in (await client.post("/completion", body))["timings"].items():
            if isinstance(value, int | float):
                total[key] = total.get(key, 0.0) + value
    prefill = total["prompt_n"] / max(total["prompt_ms"], 1e-9) * 1000
    decode = total["predicted_n"] / max(total["predicted_ms"], 1e-9) * 1000
    guessed = total.get("draft_n", 0.0)
    return Speed(
        prefill,
        decode,
        total["prompt_n"] / len(tasks) / prefill + ANSWER_TOKENS / decode,
        total.get("draft_n_accepted", 0.0) / guessed if guessed else None,
    )


def median(speeds: Sequence[Speed]) -> Speed:
    """Of each figure."""
    told = [each.accepted for each in speeds if each.accepted is not None]
    return Speed(
        statistics.median(each.prefill for each in speeds),
        statistics.median(each.decode for each in speeds),
        statistics.median(each.answer_s for each in speeds),
        statistics.median(told) if told else None,
    )
