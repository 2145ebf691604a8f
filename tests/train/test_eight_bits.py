"""Products in 8 bits: the same training, a little coarser; and who may have it.

A processor carries the products out one by one, as a device's units would give them.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.train.test_scaling import begun, ignore
from undercroft.errors import BadConfig
from undercroft.train.models import eight_bits


def test_losses_are_nearly_those_of_bf16(tmp_path: Path) -> None:
    plain, coarse = (begun(tmp_path / name, "bf16", max_steps=6) for name in ("plain", "coarse"))
    layers = plain.model.config.num_hidden_layers
    assert eight_bits.use(coarse.model) == 7 * layers
    losses = [run.train(ignore).losses for run in (plain, coarse)]
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)
    assert losses[1] != losses[0]
    assert losses[1][-1] < losses[1][0]


def test_a_product_and_its_gradients_are_near_the_exact_ones_with_any_number_of_rows() -> None:
    torch.manual_seed(3)
    layer = nn.Linear(32, 48)
    x = torch.randn(2, 5, 32, requires_grad=True)
    wanted = torch.randn(2, 5, 48)
    found = []
    for _ in range(2):
        y = layer(x)
        grads = torch.autograd.grad((y * wanted).sum(), (x, layer.weight, layer.bias))
        found.append((y.detach(), *grads))
        eight_bits.use(layer)
    for exact, coarse in zip(*found, strict=True):
        assert coarse.shape == exact.shape
        assert (coarse - exact).norm() < 0.08 * exact.norm()
    assert (found[0][0] - found[1][0]).norm() > 0


def test_what_is_not_finite_is_not_hidden_by_a_scale() -> None:
    for bad in (float("nan"), float("inf")):
        x, scale = eight_bits.narrowed(torch.tensor([1.0, bad]), eight_bits.WEIGHT)
        assert not torch.isfinite(x.float() * scale).all()


def test_layers_with_odd_sides_and_heads_compute_as_before() -> None:
    model = nn.ModuleDict({"odd": nn.Linear(15, 16), "lm_head": nn.Linear(16, 16)})
    assert eight_bits.use(model) == 0


def test_a_processor_is_refused_with_what_has_the_units(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="no units"):
        begun(tmp_path, "fp8", device="cpu")
