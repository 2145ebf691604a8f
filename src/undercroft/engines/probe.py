"""Does a native build answer as the wheel does? Both serve the same tiny models and are asked the
same; a build that dies, or whose log-probabilities are others, has a fault."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undercroft.engines.client import EngineClient
from undercroft.engines.llamacpp import LlamaServer
from undercroft.engines.tiny import CONTEXT, VOCABULARY, write_tiny
from undercroft.errors import EngineFailed
from undercroft.settings import EngineSettings

#: Every number format that `undercroft.compress` writes has kernels of its own.
FORMATS = ("F16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")

#: One token, a few, and more than one kernel's tile of them.
PROMPTS = (1, 5, 33, 200)
STEPS = 8
LIKELIEST = 16

#: The largest difference of a log-probability, in nats, that rounding in another order makes up
#: for. Measured between AVX2 and AVX-512, in each format: 0.005 (F16) to 0.08 (Q4_1).
TOLERANCE = 0.25

#: Where they hardly name the same tokens.
UNALIKE = 99.0

READY_S = 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    """The largest ``difference`` of a log-probability in nats, over how many ``compared`` tokens;
    ``fault`` is empty when the build may be used."""

    difference: float
    compared: int
    fault: str = ""


def probe(server: Path) -> Finding:
    """Hold the native ``server`` against the wheel. Raises `EngineFailed` when the wheel fails."""
    largest, compared = 0.0, 0
    with tempfile.TemporaryDirectory(prefix="undercroft-probe-") as folder:
        for form in FORMATS:
            model = write_tiny(Path(folder) / f"{form}.gguf", form)
            reference = _answers(model, None)
            try:
                answers = _answers(model, server)
            except EngineFailed as error:
                return Finding(largest, compared, f"it fails on {form}: {error}")
            for ours, theirs in zip(answers, reference, strict=True):
                difference, count = _compared(ours, theirs)
                largest, compared = max(largest, difference), compared + count
                if difference > TOLERANCE:
                    return Finding(
                        largest, compared,
                        f"on {form} its log-probabilities differ from the wheel's by up to "
                        f"{difference:.2f}; {TOLERANCE} can be rounding",
                    )  # fmt: skip
    return Finding(round(largest, 5), compared)


def _answers(model: Path, server: Path | None) -> Sequence[Sequence[Any]]:
    """For each prompt, the steps of a greedy answer with their likeliest tokens."""
    tuning = EngineSettings(build="wheel")
    with LlamaServer.start(
        model, context=CONTEXT, slots=1, threads=2, tuning=tuning, server=server
    ) as engine:
        engine.wait_ready(READY_S)
        return asyncio.run(_asked(engine.base_url))


async def _asked(base_url: str) -> Sequence[Sequence[Any]]:
    body = {"n_predict": STEPS, "n_probs": LIKELIEST, "temperature": 0.0, "ignore_eos": True}
    async with EngineClient(base_url, timeout_s=READY_S) as client:
        return [
            (await client.post("/completion", {**body, "prompt": _prompt(length)}))[
                "completion_probabilities"
            ]
            for length in PROMPTS
        ]


def _prompt(length: int) -> list[int]:
    return [(number * 37 + length) % VOCABULARY for number in range(length)]


def _compared(ours: Sequence[Any], theirs: Sequence[Any]) -> tuple[float, int]:
    """The largest difference over the tokens that both name, as far as both wrote the same, and
    how many tokens that were."""
    largest, count = 0.0, 0
    for step, other in zip(ours, theirs, strict=True):
        expected, found = _likely(other), _likely(step)
        both = expected.keys() & found.keys()
        if len(both) < LIKELIEST // 2:
            return UNALIKE, count
        largest = max(largest, *(abs(expected[token] - found[token]) for token in both))
        count += len(both)
        if step["id"] != other["id"]:
            break
    return largest, count


def _likely(step: Any) -> dict[int, float]:
    """What is not a number is left out: a broken kernel gives null."""
    pairs = ((each["id"], each["logprob"]) for each in step["top_logprobs"])
    return {token: value for token, value in pairs if value is not None}
