"""A model and an objective that train in a millisecond a step, and need none of transformers.

The samples are numbers; each gives a row of seeded inputs and a target. Dropout makes the random
state matter, and batch norm the buffers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from undercroft.settings import LoopSettings
from undercroft.train.loop import Run
from undercroft.train.objectives.objective import Batch, Terms
from undercroft.train.samples.data import Sampler

WIDTH = 8
SAMPLES = [(first, first + 1) for first in range(0, 1200, 2)]


def settings(**changed: Any) -> LoopSettings:
    values = {
        "max_steps": 12, "batch_size": 6, "micro_batch_size": 2, "learning_rate": 1e-2,
        "checkpoint_steps": 1, "precision": "fp32", "guard_window": 16,
    }  # fmt: skip
    return LoopSettings(**{**values, **changed})


def model(lively: bool = True) -> nn.Module:
    """``lively``: with dropout and batch norm, which depend on how samples are shared out."""
    torch.manual_seed(5)
    extra = [nn.BatchNorm1d(16), nn.Dropout(0.3)] if lively else []
    return nn.Sequential(nn.Linear(WIDTH, 16), *extra, nn.Tanh(), nn.Linear(16, 1))


class Deep(nn.Module):
    """A model with blocks, which can be spread over processes; 15 rows go unevenly."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.first = nn.Linear(WIDTH, 15)
        block = [nn.Sequential(nn.Linear(15, 15), nn.Tanh()) for _ in range(2)]
        self.blocks = nn.ModuleList(block)
        self.last = nn.Linear(15, 1)

    def forward(self, x_bw: Tensor) -> Tensor:
        x_bw = self.first(x_bw)
        for block in self.blocks:
            x_bw = block(x_bw)
        return self.last(x_bw)


class Squares:
    """The squared distance to a target; by ``factors``, as a sample's first number has one.

    ``seen`` counts what was read, and is kept in the checkpoint.
    """

    def __init__(self, factors: Mapping[int, float] | None = None) -> None:
        self.factors = factors or {}
        self.seen = torch.zeros(1200)

    def collate(self, sample: Sequence[int], /) -> Batch:
        rows = [torch.randn(WIDTH, generator=torch.Generator().manual_seed(n)) for n in sample]
        x_bw = torch.stack(rows)
        tensors = {"x_bw": x_bw, "y_b": x_bw.sum(1).sin(), "numbers": torch.tensor(sample)}
        ids = tuple(f"example-{number}" for number in sample)
        return Batch(tensors, len(sample), len(sample), len(sample), ids)

    def terms(self, model: Any, batch: Batch) -> Terms:
        numbers = batch.tensors["numbers"].cpu()
        self.seen[numbers] += 1
        distance_b = model(batch.tensors["x_bw"])[:, 0] - batch.tensors["y_b"]
        factor = self.factors.get(int(numbers[0]), 1.0)
        return Terms(distance_b.square().sum() * factor, batch.count, {})

    def state(self) -> dict[str, Tensor]:
        return {"seen": self.seen}

    def load(self, state: Mapping[str, Tensor], /) -> None:
        self.seen = state["seen"].clone()


def start(folder: Path, params: LoopSettings | None = None, **changed: Any) -> Run[Any]:
    own = {"model": model(), "objective": Squares(), "event": lambda kind, detail: None, **changed}
    return Run(
        own.pop("model"), own.pop("objective"), SAMPLES, params or settings(),
        folder=folder, config_digest="c", **own,
    )  # fmt: skip


def digest(trained: nn.Module) -> str:
    """Of all weights and buffers, bit for bit."""
    whole = hashlib.sha256()
    for name, each in sorted(trained.state_dict().items()):
        whole.update(name.encode() + each.numpy().tobytes())
    return whole.hexdigest()


def samples_at(*steps: int) -> list[int]:
    """The first numbers of the first samples that are read at ``steps``."""
    params = settings()
    each = params.batch_size // params.micro_batch_size
    sampler = Sampler(len(SAMPLES), params.seed)
    order = [SAMPLES[next(sampler)][0] for _ in range(each * max(steps))]
    return [order[each * (step - 1)] for step in steps]
