"""Starts a model over processes, none of which holds it whole, and writes down what each took.

python -m tests.train.absences OUT LAYERS WIDTH [whole]; with ``whole`` each builds all of it first,
as a model does that is not cut.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from tests.train.layouts import in_processes
from undercroft.settings import ParallelSettings
from undercroft.train.arranging import spread
from undercroft.train.models import scratch
from undercroft.train.parallel.placement import arranged, own
from undercroft.train.parallel.plan import Plan
from undercroft.train.parallel.team import team

SHARDS = 4


def peak_bytes() -> int:
    """Of memory that is no file's, which this process has at most held."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def begun(out: Path, shape: scratch.Shape, device: str) -> None:
    settings = ParallelSettings(processes=SHARDS, shard=SHARDS)
    spread(little(), team(Plan.of(settings)), settings)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    before = peak_bytes()
    model = scratch.build(shape, "fp32", 3, {}, device)
    crew = team(Plan.of(settings))
    spread(model, crew, settings)
    peak = peak_bytes() - before
    layout = arranged(model, crew)
    whole = scratch.Drawn(
        3, shape.layers, {n: layout.part(n, w).whole for n, w in model.named_parameters()}
    )
    looked_at = list(model.named_parameters()) if crew.rank == SHARDS - 1 else []
    differs = [
        name
        for name, weight in looked_at
        if not torch.equal(
            own(weight), whole.part(name, layout.part(name, weight).at, own(weight).shape)
        )
    ]
    size = 4 * sum(torch.Size(each).numel() for each in whole.shapes.values())
    found = {"peak": peak, "size": size, "differs": differs, "looked_at": len(looked_at)}
    (out / f"rank-{crew.rank}.json").write_text(json.dumps(found), encoding="utf-8")


def little() -> Any:
    """A model to import and begin everything with that any takes."""
    return scratch.build(scratch.Shape(1, 32, 4, 4, 32, 32), "fp32", 3, {}, scratch.ABSENT)


def main() -> None:
    torch.set_num_threads(1)
    out, layers, width = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    shape = scratch.Shape(layers, width, 8, 4, 512, 128)
    device = "cpu" if "whole" in sys.argv else scratch.ABSENT
    little()  # what it imports is imported once
    in_processes(SHARDS, lambda: begun(out, shape, device), out / "meet")


if __name__ == "__main__":
    main()
