"""AdamW over full-precision masters of weights that the model itself may hold in bf16.

A bf16 number has 8 significant bits, so that an update of less than about 1/256 of a weight
rounds to nothing; at fine-tuning rates that is most of them. The masters keep what rounding would
lose (Micikevicius et al., "Mixed Precision Training", 2018, section 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.95)
EPSILON = 1e-8


class MasterAdamW:
    """AdamW (Loshchilov and Hutter, 2019) on float32 copies of the trainable weights."""

    def __init__(self, model: nn.Module, weight_decay: float) -> None:
        self._names = [name for name, weight in model.named_parameters() if weight.requires_grad]
        weights = dict(model.named_parameters())
        self._weights = [weights[name] for name in self._names]
        self._masters = [nn.Parameter(weight.detach().float().clone()) for weight in self._weights]
        decayed = [m for m in self._masters if m.ndim > 1]
        plain = [m for m in self._masters if m.ndim <= 1]
        self._adam = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            betas=BETAS,
            eps=EPSILON,
            fused=True,
        )

    def gather(self, max_norm: float) -> float:
        """Take the gradients over from the weights and clip them; returns their norm before.

        Not finite when any gradient is not.
        """
        for weight, master in zip(self._weights, self._masters, strict=True):
            master.grad = None if weight.grad is None else weight.grad.float()
            weight.grad = None
        return float(nn.utils.clip_grad_norm_(self._masters, max_norm))

    def step(self, rate: float) -> None:
        """One update at learning rate ``rate``, written back to the weights."""
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        with torch.no_grad():
            torch._foreach_copy_(self._weights, self._masters)
        self.discard()

    def discard(self) -> None:
        """Forget the gradients."""
        for weight, master in zip(self._weights, self._masters, strict=True):
            weight.grad = master.grad = None

    def state(self) -> dict[str, Tensor]:
        """Masters and moments by name, as they are (not copies)."""
        tensors: dict[str, Tensor] = {}
        for name, master in zip(self._names, self._masters, strict=True):
            tensors[f"master.{name}"] = master.detach()
            for key, value in self._adam.state.get(master, {}).items():
                tensors[f"{key}.{name}"] = value
        return tensors

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `state` gave, and set the weights from it."""
        for name, weight, master in zip(self._names, self._weights, self._masters, strict=True):
            with torch.no_grad():
                master.copy_(tensors[f"master.{name}"])
                weight.copy_(master)
            entry: dict[str, Any] = {
                key: tensors[f"{key}.{name}"].clone()
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"{key}.{name}" in tensors
            }
            if entry:
                self._adam.state[master] = entry
