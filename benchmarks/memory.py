"""What training was estimated to take, against what it took.

python -m benchmarks.memory [--steps 3]

Small Llamas are trained on random tokens, each in a process of its own, whose memory is read before
the model is made and at its peak; a checkpoint is written in between. The ratio is estimate over
peak: it should be above 1, as the estimate is from above, and not far.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.compare import Result, table

CASES: list[dict[str, Any]] = [
    {"layers": 8, "width": 384, "context": 256, "micro": 4, "precision": "bf16"},
    {"layers": 8, "width": 384, "context": 256, "micro": 4, "precision": "fp32"},
    {"layers": 6, "width": 256, "context": 1024, "micro": 4, "precision": "bf16"},
    {"layers": 6, "width": 256, "context": 1024, "micro": 4, "precision": "bf16", "again": True},
    {"layers": 4, "width": 1024, "context": 128, "micro": 1, "precision": "bf16"},
]


def measured(case: dict[str, Any], steps: int) -> dict[str, int]:
    """Run in a process of its own: bytes estimated, and bytes taken at most."""
    import psutil

    from benchmarks.checkpoint import random_samples
    from undercroft.settings import ParallelSettings, PretrainSettings
    from undercroft.train.arranging import spread
    from undercroft.train.loop import Run
    from undercroft.train.models import scratch
    from undercroft.train.objectives.next_token import NextToken
    from undercroft.train.parallel.team import Alone

    parallel = ParallelSettings(activation_checkpointing=case.get("again", False))
    params = PretrainSettings(
        layers=case["layers"], width=case["width"], heads=8, kv_heads=4, vocabulary=8192,
        context=case["context"], micro_batch_size=case["micro"], batch_size=case["micro"],
        precision=case["precision"], max_steps=steps, checkpoint_steps=2, observe_steps=0,
        optimizer="adamw",
        spike_threshold=0, parallel=parallel,
    )  # fmt: skip
    shape = scratch.shape_of(params, params.vocabulary)
    wanted = scratch.estimate(shape, params.precision, params.micro_batch_size, parallel)
    samples = random_samples(params)
    warm_up(params)
    before = psutil.Process().memory_info().rss
    model = scratch.build(shape, params.precision, 20, {})
    crew = Alone()
    spread(model, crew, parallel)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            model, NextToken(), samples, params, folder=Path(folder), config_digest="benchmark",
            event=lambda kind, detail: None, section="pretrain", team=crew,
        )  # fmt: skip
        run.train(lambda point, schedule: None)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if "VmHWM" in line)
    return {"estimate": wanted.total_bytes, "state": wanted.state_bytes, "peak": peak - before}


def warm_up(params: Any) -> None:
    """Import and initialise what every training takes, with a model that takes nothing."""
    from benchmarks.checkpoint import random_samples
    from undercroft.train.loop import Run
    from undercroft.train.models import scratch
    from undercroft.train.objectives.next_token import NextToken

    small = params.model_copy(
        update={"layers": 1, "width": 16, "context": 16, "micro_batch_size": 1, "batch_size": 1}
    )
    model = scratch.build(scratch.shape_of(small, small.vocabulary), small.precision, 20, {})
    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            model, NextToken(), random_samples(small), small, folder=Path(folder),
            config_digest="warm", event=lambda kind, detail: None, section="pretrain",
        )  # fmt: skip
        run.train(lambda point, schedule: None)


def main() -> None:
    parser = argparse.ArgumentParser(description="Estimated and measured memory.")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--case", type=int, help="measure this one here, and print it")
    options = parser.parse_args()
    if options.case is not None:
        print(json.dumps(measured(CASES[options.case], options.steps)))
        return
    rows, ratios = [], []
    for number, case in enumerate(CASES):
        command = [sys.executable, "-m", "benchmarks.memory", "--case", str(number)]
        command += ["--steps", str(options.steps)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = json.loads(told.splitlines()[-1])
        ratios.append(found["estimate"] / found["peak"])
        sizes = [found[name] / 1e6 for name in ("state", "estimate", "peak")]
        rows.append([json.dumps(case), *sizes, ratios[-1]])
    print(table(["case", "state, MB", "estimate, MB", "peak, MB", "ratio"], rows))
    least, most = min(ratios), max(ratios)
    quality = {"ratios": [round(each, 3) for each in ratios], "equal": least >= 1}
    Result("memory", least, most, least, "estimate / peak", quality).print()


if __name__ == "__main__":
    main()
