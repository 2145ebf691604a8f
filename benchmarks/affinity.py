"""Prompt tokens that two replicas read of conversations: by affinity, and by who is least busy.

    python -m benchmarks.affinity --talks 6 --turns 4

A gateway with two llama.cpp replicas answers several conversations at once, each with a long
document in front of it. The engines themselves count the tokens that they compute. The last line's
``ours`` and ``peer`` are shares of the prompts' tokens that were not computed again; counts of
tokens do not depend on how busy the machine is.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import statistics
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil

from benchmarks.compare import Result
from tests.serve.serving import Served, gateway_of, keep_model, make_project, release, smollm

WORDS = [
    "river", "stone", "garden", "market", "winter", "letter", "engine", "forest", "signal",
    "harbour", "kitchen", "number", "paper", "window", "mountain", "question", "shadow", "silver",
    "morning", "teacher", "village", "bridge", "corner", "summer",
]  # fmt: skip


def document(seed: int, words: int) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(words))


def computed(served: Served) -> int:
    """Prompt tokens that the gateway's engines have computed, by their own count."""
    total = 0
    for child in psutil.Process(served.process.pid).children(recursive=True):
        for each in child.net_connections("tcp"):
            if each.status != psutil.CONN_LISTEN:
                continue
            url = f"http://127.0.0.1:{each.laddr.port}/metrics"
            with urllib.request.urlopen(url, timeout=30) as reply:
                found = re.search(
                    r"^llamacpp:prompt_tokens_total (\S+)", reply.read().decode(), re.M
                )
            total += int(float(found[1])) if found else 0
    return total


async def talk(client: object, seed: int, turns: int, words: int) -> int:
    """One conversation; the tokens of all its prompts."""
    draw = random.Random(seed)
    messages = [{"role": "user", "content": f"{document(seed, words)}\n\nWhat is this about?"}]
    tokens = 0
    for turn in range(turns):
        said = await client.chat.completions.create(  # type: ignore[attr-defined]
            model="docs", messages=messages, max_tokens=8, temperature=0
        )
        tokens += said.usage.prompt_tokens
        messages += [
            {"role": "assistant", "content": said.choices[0].message.content or "-"},
            {"role": "user", "content": f"And what of the {draw.choice(WORDS)} {turn}?"},
        ]
        await asyncio.sleep(draw.random() * 0.3)
    return tokens


async def load(served: Served, talks: int, turns: int, words: int) -> int:
    import openai

    async with openai.AsyncOpenAI(
        base_url=served.url, api_key=served.key, timeout=600, max_retries=5
    ) as client:
        return sum(
            await asyncio.gather(*(talk(client, seed, turns, words) for seed in range(talks)))
        )


def reused(folder: Path, is_on: bool, options: argparse.Namespace) -> float:
    project = make_project(
        folder, replicas=2, least_replicas=2, slots=2, threads=1, cache_entries=0, affinity=is_on,
        timeout_s=600.0, queue_timeout_s=600.0,
    )  # fmt: skip
    release(project, keep_model(project, "docs-q4_1", smollm()))
    with gateway_of(project, 120) as served:
        before, began = computed(served), time.monotonic()
        asked = asyncio.run(load(served, options.talks, options.turns, options.words))
        read, seconds = computed(served) - before, time.monotonic() - began
    share = 1 - read / asked
    name = "affinity" if is_on else "least busy"
    print(f"{name}: {read:,} of {asked:,} prompt tokens read in {seconds:.0f} s, {share:.1%} not")
    return share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--talks", type=int, default=4)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--words", type=int, default=250)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    ours, peer = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            peer.append(reused(Path(folder) / f"least-{number}", False, options))
            ours.append(reused(Path(folder) / f"affine-{number}", True, options))
    one, other = statistics.median(ours), statistics.median(peer)
    quality = {"talks": options.talks, "turns": options.turns, "rounds": options.rounds}
    Result("affinity", one, other, one / max(other, 1e-9), "share of tokens", quality).print()


if __name__ == "__main__":
    main()
