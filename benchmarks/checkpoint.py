"""How long training stands still for a checkpoint: written beside it, against written at once.

python -m benchmarks.checkpoint [--rounds 5] [--saves 4] [--width 360]

A Llama of 10 million parameters is pretrained on random tokens, and saved every fourth step.
*Stall* is the time that the loop waits, for each save: for the call, and for the copy before the
next update. *Cost* is all the time that saves take from training, the slower steps beside them
included: of four steps with a save over four steps without. Both are shares of a step. The peer
waits until the very same checkpoint is on the disk.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.compare import Result, in_turn, spread, table
from undercroft.settings import PretrainSettings
from undercroft.train.loop import Run
from undercroft.train.models import scratch
from undercroft.train.objectives.next_token import NextToken
from undercroft.train.samples.packing import Row, Span

EVERY = 4  # steps a save; a checkpoint is written in less
WARM_UP = 2
MOST_STALL = 0.05


class Timed(Run[tuple[Row, ...]]):
    """Saves every so many steps, or never, and knows what they took."""

    every = 0
    waits = False
    save_s = 0.0

    def train_timed(self, steps: int) -> list[float]:
        """The seconds of each step, the save before it included."""
        times = []
        self.model.train()
        for number in range(steps):
            started = time.monotonic()
            if self.every and number % self.every == 0:
                self.save()
                if self.waits:
                    self._writer.finish()
                self.save_s += time.monotonic() - started
            self._step()
            times.append(time.monotonic() - started)
            self.schedule.advance(times[-1])
        self._writer.finish()
        return times


def main() -> None:
    parser = argparse.ArgumentParser(description="The stall of a checkpoint.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--saves", type=int, default=4)
    parser.add_argument("--width", type=int, default=360)
    options = parser.parse_args()
    steps = options.saves * EVERY
    params = PretrainSettings(
        layers=6, width=options.width, heads=4, kv_heads=2, vocabulary=4096, context=256,
        batch_size=4, micro_batch_size=4, max_steps=10**6, spike_threshold=0,
    )  # fmt: skip
    samples = random_samples(params)
    found = in_turn(
        options.rounds,
        {
            side: lambda side=side: measured(side, params, samples, steps)
            for side in ("none", "ours", "peer")
        },
    )
    report(found, options.saves, scratch.shape_of(params, params.vocabulary).parameters)


def random_samples(params: PretrainSettings) -> list[tuple[Row, ...]]:
    draw = np.random.default_rng(20)
    size = (32, params.micro_batch_size, params.context + 1)
    tokens = draw.integers(params.vocabulary, size=size, dtype=np.uint32)
    return [tuple((Span(str(n), row),) for n, row in enumerate(sample)) for sample in tokens]


def measured(
    side: str, params: PretrainSettings, samples: Sequence[tuple[Row, ...]], steps: int
) -> dict[str, Any]:
    """One run: the seconds of a step, those that the loop waited, and the checkpoint's size."""
    model = scratch.build(scratch.shape_of(params, params.vocabulary), "bf16", 20, {})
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:  # a disk, where /tmp may be memory
        run = Timed(
            model, NextToken(), samples, params, folder=Path(name), config_digest="benchmark",
            event=lambda kind, detail: None, section="pretrain",
        )  # fmt: skip
        run.train_timed(WARM_UP)
        run.save()  # the memory of the copies is taken once
        run._writer.finish()
        run.every, run.waits = (0 if side == "none" else EVERY), side == "peer"
        before = run._writer.waited_s
        times = run.train_timed(steps)
        size = sum(file.stat().st_size for file in next(Path(name).glob("checkpoint-*")).iterdir())
        waited_s = run.save_s + run._writer.waited_s - before
    return {"step_s": statistics.fmean(times), "waited_s": waited_s, "size": size}


def report(found: dict[str, list[dict[str, Any]]], saves: int, parameters: int) -> None:
    plain = statistics.median(each["step_s"] for each in found["none"])
    rows, stalls, costs = [], {}, {}
    for side in ("ours", "peer"):
        stalls[side] = [each["waited_s"] / saves / plain for each in found[side]]
        costs[side] = [
            (each["step_s"] / none["step_s"] - 1) * EVERY
            for each, none in zip(found[side], found["none"], strict=True)
        ]
        shown = [100 * statistics.median(stalls[side]), spread(stalls[side])]
        rows.append([side, *shown, 100 * statistics.median(costs[side])])
    print(table(["side", "stall, % of a step", "spread", "cost, % of a step"], rows))
    ours, peer = (statistics.median(stalls[side]) for side in ("ours", "peer"))
    quality = {
        "parameters": parameters,
        "checkpoint_mb": round(found["ours"][0]["size"] / 1e6),
        "step_s": plain,
        "stall_ms_ours": 1000 * ours * plain,
        "stall_ms_peer": 1000 * peer * plain,
        "cost_ours": statistics.median(costs["ours"]),
        "cost_peer": statistics.median(costs["peer"]),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "equal": ours < MOST_STALL,
    }
    Result("checkpoint", ours, peer, peer / ours, "steps", quality).print()


if __name__ == "__main__":
    main()
