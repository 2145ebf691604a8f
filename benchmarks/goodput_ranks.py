"""What both sides of `goodput` train: a small Llama on the Python reference; and torchrun's ranks.

torchrun … -m benchmarks.goodput_ranks FOLDER TIMEOUT_S
"""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from undercroft.settings import PretrainSettings
from undercroft.train.launch.job import Job, Parts, Site
from undercroft.train.points import Point
from undercroft.train.schedule import Schedule

PROCESSES = 4
PARAMS = PretrainSettings.model_validate(
    {
        "layers": 4, "width": 128, "heads": 4, "kv_heads": 2, "vocabulary": 512, "context": 128,
        "batch_size": 16, "micro_batch_size": 4, "max_steps": 100_000, "precision": "fp32",
        "checkpoint_seconds": 10.0, "spike_threshold": 0, "observe_steps": 0,
        "parallel": {"processes": PROCESSES},
    }
)  # fmt: skip


def job(folder: Path, own: Path) -> Job:
    """The training of one side in ``own``, on the corpus in ``folder``."""
    build = partial(built, folder=folder)
    return Job(build, PARAMS, own, "goodput", "pretrain", folder)


def built(_: Site, *, folder: Path) -> Parts:
    """The model with its first weights, and the corpus."""
    from undercroft.train.models import scratch
    from undercroft.train.objectives.next_token import NextToken
    from undercroft.train.samples import corpus, packing, tokenizing

    read, tokenizer, hugging_face = corpus.read(folder / "corpus")
    shape = scratch.shape_of(PARAMS, tokenizer.get_vocab_size())
    special = tokenizing.special_ids(tokenizer)
    model = scratch.build(shape, PARAMS.precision, PARAMS.seed, special)
    packed = packing.pack(read, PARAMS.context, PARAMS.micro_batch_size, PARAMS.seed)
    return Parts(model, hugging_face, NextToken(), packed)


def point_line(point: Point, schedule: Schedule) -> str:
    """What is written down of a step: its loss in all digits, and the useful seconds so far."""
    return json.dumps([point.step, point.loss.hex(), schedule.elapsed_s]) + "\n"


class _Alone:
    """The site of a rank that nobody listens to."""

    def tell(self, *_: Any) -> None: ...
    def event(self, *_: Any) -> None: ...

    def once(self, path: Path, make: Any) -> Path:
        raise NotImplementedError(path)  # this job makes nothing once


def main() -> None:
    """One of torchrun's ranks."""
    import torch
    from torch import distributed

    from undercroft.train.parallel.plan import Plan
    from undercroft.train.parallel.team import leave, team

    own, timeout_s = Path(sys.argv[1]), float(sys.argv[2])
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", timeout=timedelta(seconds=timeout_s))
    rank = distributed.get_rank()
    (own / f"pid-{rank}").write_text(str(os.getpid()))
    log = os.open(own / "points", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    mine = job(own.parent, own)
    plan = Plan(PROCESSES)
    run = mine.run(mine.build(_Alone()), lambda kind, detail: None, team=team(plan))
    run.train(lambda *told: os.write(log, point_line(*told).encode()) and None)
    leave()


if __name__ == "__main__":
    main()
