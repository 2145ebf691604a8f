"""Time to a model from random weights that writes: our pretraining against a recipe of nanoGPT's.

python -m benchmarks.grammar [--rounds 3] [--steps 480] [--iterations 2000]

Both learn the documentation that every CPython carries, one group of documents in fifteen held out,
with models of at most 0.81 million parameters. The peer is the whole recipe for a CPU
(`peers/char_gpt.py`), which reads characters. Ours is `pretrain` as it is, with a tokenizer of its
own, whose learning counts as time. Equal loss: of the held-out text, in bits a byte, ours may not
be above the peer's. What both write at the end is printed. Seconds of processor time are measured
too, since they depend less on what else the machine does.
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

from benchmarks.compare import Result, in_turn, last_line, spread, table
from undercroft.collect.documents import Collected, Gathering
from undercroft.collect.python_docs import PythonDocs
from undercroft.jobs import WORKER_ENVIRONMENT
from undercroft.settings import CollectSettings, PretrainSettings

HELD_OUT = 15  # one group of documents in so many


def main() -> None:
    parser = argparse.ArgumentParser(description="Time to a model that writes.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=480, help="Of ours.")
    parser.add_argument("--iterations", type=int, default=2000, help="Of the peer.")
    options = parser.parse_args()
    params = PretrainSettings(
        layers=4, width=128, heads=4, kv_heads=2, vocabulary=512, context=256, batch_size=4,
        micro_batch_size=4, max_steps=options.steps, learning_rate=6e-3, checkpoint_seconds=1e6,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        sides = {
            "ours": lambda: ours(folder, params),
            "peer": lambda: peer(folder, options.iterations),
        }
        found = in_turn(options.rounds, sides, warm_up=0)
    report(found)


def write(folder: Path) -> None:
    """The documents as either side reads them."""
    gathering = Gathering(folder, CollectSettings(), folder)
    found = [each for each in PythonDocs().collect(gathering) if isinstance(each, Collected)]
    apart = set(sorted({each.group for each in found})[::HELD_OUT])
    texts: dict[str, list[str]] = {"taught": [], "held_out": []}
    for each in found:
        side = "held_out" if each.group in apart else "taught"
        texts[side].append(each.payload.decode())
    (folder / "documents.json").write_text(json.dumps(texts), encoding="utf-8")
    for side, documents in texts.items():
        (folder / f"{side}.txt").write_text("\n".join(documents), encoding="utf-8")


def ours(folder: Path, params: PretrainSettings) -> dict[str, Any]:
    files = [folder / "documents.json", params.model_dump_json(), folder / "ours"]
    words = [sys.executable, "-m", "benchmarks.grammar_ours", *map(str, files)]
    measured: dict[str, Any] = last_line(words, WORKER_ENVIRONMENT)
    return measured


def peer(folder: Path, iterations: int) -> dict[str, Any]:
    script = Path(__file__).parent / "peers" / "char_gpt.py"
    files = [folder / "taught.txt", folder / "held_out.txt", iterations, folder / "peer.txt"]
    measured = last_line([sys.executable, str(script), *map(str, files)], WORKER_ENVIRONMENT)
    return {**measured, "text": (folder / "peer.txt").read_text(encoding="utf-8")}


def report(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    rows = [
        [side, statistics.median(each["seconds"] for each in runs),
         statistics.median(each["cpu_seconds"] for each in runs),
         max(each["bits_a_byte"] for each in runs), runs[0]["parameters"]]
        for side, runs in found.items()
    ]  # fmt: skip
    for side, runs in found.items():
        print(f"--- {side} writes:\n{runs[0]['text']}\n")
    print(table(["side", "seconds", "cpu-s", "bits a byte", "parameters"], rows))

    def ratios(clock: str) -> list[float]:
        pairs = zip(found["ours"], found["peer"], strict=True)
        return [theirs[clock] / own[clock] for own, theirs in pairs]

    by_clock = ratios("seconds")
    print("ratios", ", ".join(f"{each:.2f}" for each in by_clock))
    quality = {
        "spread_of_ratios": spread(by_clock),
        "cpu_ratio": statistics.median(ratios("cpu_seconds")),
        "bits_ours": rows[0][3],
        "bits_peer": rows[1][3],
        "equal": rows[0][3] <= rows[1][3],
    }
    ratio = statistics.median(by_clock)
    Result("grammar", rows[0][1], rows[1][1], ratio, "s to the loss", quality).print()


if __name__ == "__main__":
    main()
