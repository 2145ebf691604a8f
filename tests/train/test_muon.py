"""Muon beside AdamW: what it steps, that it resumes exactly, and where it cannot be."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from undercroft.errors import BadConfig
from undercroft.train.muon import wants_muon
from undercroft.train.optimizer import MasterAdamW


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.tokens = nn.Embedding(6, 8)
        self.layers = nn.ModuleList([nn.Linear(8, 16), nn.Linear(16, 8)])

    def loss(self) -> torch.Tensor:
        x = self.tokens.weight
        for layer in self.layers:
            x = layer(x).tanh()
        return (x - 1).square().sum()


class Kept:
    """What a checkpoint gives back."""

    def __init__(self, tensors: dict[str, Any]) -> None:
        self._tensors = {name: value.clone() for name, (value, _) in tensors.items()}

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def part(self, name: str, at: Any, size: Any) -> torch.Tensor:
        return self._tensors[name].clone()


def stepped(model: Small, optimizer: MasterAdamW, times: int) -> list[float]:
    losses = []
    for _ in range(times):
        loss = model.loss()
        loss.backward()
        losses.append(float(loss.detach()))
        optimizer.gather(1.0)
        optimizer.step(0.02)
    return losses


def test_matrices_of_blocks_step_by_an_orthogonal_matrix_and_all_else_by_adamw() -> None:
    model = Small()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimizer = MasterAdamW(model, 0.0, optimizer="muon")
    stepped(model, optimizer, 1)
    moved = {name: weight.detach() - before[name] for name, weight in model.named_parameters()}
    sizes = torch.linalg.svdvals(moved["layers.0.weight"]) / (0.02 * 0.2 * 4)  # 0.2 sqrt(16)
    sizes = sizes[:6]  # six tokens give a gradient of rank six
    assert float(sizes.min()) > 0.6
    assert float(sizes.max()) < 1.25  # five steps of Newton and Schulz come as near as that
    for name in ("tokens.weight", "layers.0.bias"):
        assert torch.allclose(moved[name].abs(), torch.tensor(0.02), rtol=1e-3)
    plain = MasterAdamW(Small(), 0.0)
    assert len(plain._steppers) == 1


def test_it_goes_on_from_its_state_bit_for_bit() -> None:
    model = Small()
    optimizer = MasterAdamW(model, 0.1, optimizer="muon")
    stepped(model, optimizer, 3)
    kept = Kept(optimizer.state())
    wanted = stepped(model, optimizer, 4)
    again = Small()
    other = MasterAdamW(again, 0.1, optimizer="muon")
    stepped(again, other, 1)
    other.load(kept)
    assert stepped(again, other, 4) == wanted


@pytest.mark.parametrize("spread", ["shard", "tensor"])
def test_matrices_that_are_spread_are_refused_or_left_to_adamw(spread: str) -> None:
    sizes = {"shard": 1, "tensor": 1, spread: 2}
    team: Any = SimpleNamespace(**{name: SimpleNamespace(size=s) for name, s in sizes.items()})
    with pytest.raises(BadConfig, match="spread over processes"):
        wants_muon("muon", team)
    assert not wants_muon("", team)
    assert not wants_muon("adamw", team)
