"""Training, the longest part of the main job, against TRL's SFTTrainer.

python -m benchmarks.main_job [--rounds 5] [--steps 6]

Both sides train the default base on the same examples of the example project, with the same
prompt, rate and number of examples a step, in bfloat16 on the same cores; loading is not counted.
Ours reads passages that several examples share once. Quality is the perplexity of answers to
held-out questions after training, by the same program for both, and that of the base beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.compare import (
    ROOT,
    Result,
    in_turn,
    last_line,
    peer_environment,
    spread,
    table,
    version_of,
)
from undercroft.project import Project
from undercroft.records import Example

PEER = [
    "torch==2.13.0", "transformers==5.18.0", "trl>=1", "datasets", "accelerate", "peft>=0.18",
]  # fmt: skip
RATE = 1e-4
HELD_OUT = 24


def main() -> None:
    parser = argparse.ArgumentParser(description="Our trainer against TRL's.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_args()
    binaries = peer_environment("trl", PEER)
    project = _project()
    base = project.path(project.ledger.artifact(f"model:{project.name}-base"))
    examples = project.path(project.ledger.artifact(f"examples:{project.name}"))
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        _write_chats(project, examples, scratch / "chats.jsonl")
        sides = {
            "ours": lambda: _ours(project, base, examples, options.steps, scratch / "ours"),
            "peer": lambda: _peer(binaries, base, scratch, options.steps),
        }
        found = in_turn(options.rounds, sides)
        quality = _quality(project, base, scratch)
    _report(found, quality, version_of(binaries, "trl"))


def _project() -> Project:
    """The example project with everything that training needs."""
    from undercroft.annotate.stage import examples
    from undercroft.collect.stage import collect
    from undercroft.curate.stage import curate
    from undercroft.index.stage import distil, index
    from undercroft.train.stage import base

    folder = Path(__file__).parent / ".peers" / "python-docs"
    folder.mkdir(parents=True, exist_ok=True)
    settings = ROOT / "examples" / "python-docs" / "undercroft.toml"
    (folder / "undercroft.toml").write_text(settings.read_text())
    project = Project.open(folder)
    (raw,) = collect(project)
    (dataset,) = curate(project, raw=raw)
    (embedding,) = distil(project)
    (made,) = index(project, dataset=dataset, embedding=embedding)
    examples(project, dataset=dataset, index=made, embedding=embedding)
    base(project)
    return project


def _write_chats(project: Project, examples: Path, out: Path) -> None:
    """Our examples as prompt and completion messages, the form TRL takes."""
    from undercroft.retrieve.prompt import messages
    from undercroft.train.objectives.sft import target
    from undercroft.train.samples.data import read_examples

    with out.open("w", encoding="utf-8") as file:
        for each in read_examples(examples):
            chat = {
                "prompt": messages(each.question, each.passages, project.title),
                "completion": [{"role": "assistant", "content": target(each)}],
            }
            file.write(json.dumps(chat) + "\n")


def _ours(project: Project, base: Path, examples: Path, steps: int, out: Path) -> dict[str, Any]:
    arguments = [str(base), str(examples), project.title, str(steps), str(RATE), str(out)]
    return last_line([sys.executable, "-m", "benchmarks.train_ours", *arguments])


def _peer(binaries: Path, base: Path, scratch: Path, steps: int) -> dict[str, Any]:
    script = Path(__file__).parent / "peers" / "trl_sft.py"
    chats, out = str(scratch / "chats.jsonl"), str(scratch / "peer")
    sizes = [str(steps), "8", "4", str(RATE)]
    return last_line([str(binaries / "python"), str(script), str(base), chats, *sizes, out])


def _quality(project: Project, base: Path, scratch: Path) -> dict[str, float]:
    """Perplexity of held-out reference answers under the base and both trained models."""
    from undercroft.train.samples.data import _example

    suite = project.path(project.ledger.artifact(f"suite:{project.name}"))
    lines = (suite / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    cases = [_example(json.loads(line)) for line in lines][:HELD_OUT]
    folders = {"base": base, "ours": scratch / "ours", "peer": scratch / "peer"}
    return {name: _perplexity(folder, cases, project.title) for name, folder in folders.items()}


def _perplexity(folder: Path, cases: list[Example], title: str) -> float:
    import torch

    from undercroft.train.models import folders
    from undercroft.train.objectives.objective import objective

    model, tokenizer = folders.load(folder, "bf16", 1024)
    goal = objective("sft", tokenizer, title, 1024)
    loss, count = 0.0, 0
    with torch.inference_mode():
        for case in cases:
            batch = goal.collate([case])
            if batch is not None:
                terms = goal.terms(model, batch)
                loss, count = loss + float(terms.loss_sum), count + batch.count
    return round(math.exp(loss / count), 3)


def _report(found: dict[str, list[Any]], quality: dict[str, float], version: str) -> None:
    speed = {
        name: [each["examples"] / each["seconds"] for each in rounds]
        for name, rounds in found.items()
    }
    medians = {name: statistics.median(values) for name, values in speed.items()}
    ratio = statistics.median(
        ours / peer for ours, peer in zip(speed["ours"], speed["peer"], strict=True)
    )
    rows = [[name, medians[name], spread(speed[name]), quality[name]] for name in ("ours", "peer")]
    print(table([f"TRL {version}", "examples/s", "spread", "held-out perplexity"], rows))
    print(f"base: held-out perplexity {quality['base']}")
    Result(
        "main_job",
        round(medians["ours"], 3),
        round(medians["peer"], 3),
        round(ratio, 3),
        "training examples per second",
        {"held_out_perplexity": quality},
    ).print()


if __name__ == "__main__":
    main()
