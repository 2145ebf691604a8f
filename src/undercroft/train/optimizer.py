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

from undercroft.train.parallel import Alone, Team

BETAS = (0.9, 0.95)
EPSILON = 1e-8


class MasterAdamW:
    """AdamW (Loshchilov and Hutter, 2019) on float32 copies of the trainable weights.

    In a ``team`` all ranks hold the same masters, and step by the sum of all their gradients.
    """

    def __init__(self, model: nn.Module, weight_decay: float, team: Team | None = None) -> None:
        self._team = team or Alone()
        self._names = [name for name, weight in model.named_parameters() if weight.requires_grad]
        weights = dict(model.named_parameters())
        self._weights = [weights[name] for name in self._names]
        self._masters = [nn.Parameter(weight.detach().float().clone()) for weight in self._weights]
        self._team.copy_first([master.detach() for master in self._masters])
        self._write_back()
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
        self._add_up()
        return float(nn.utils.clip_grad_norm_(self._masters, max_norm))

    def _add_up(self) -> None:
        """Sum the gradients over all ranks; a weight has one when it has one on any of them."""
        if self._team.size == 1:
            return
        has_one = torch.tensor([float(m.grad is not None) for m in self._masters])
        found = [torch.zeros_like(m) if m.grad is None else m.grad for m in self._masters]
        self._team.add([has_one, *found])
        for master, grad, has in zip(self._masters, found, has_one.tolist(), strict=True):
            master.grad = grad if has else None

    def step(self, rate: float) -> None:
        """One update at learning rate ``rate``, written back to the weights."""
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        self._write_back()
        self.discard()

    def _write_back(self) -> None:
        with torch.no_grad():
            torch._foreach_copy_(self._weights, self._masters)

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
            self._adam.state.pop(master, None)
            entry: dict[str, Any] = {
                key: tensors[f"{key}.{name}"].clone()
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"{key}.{name}" in tensors
            }
            if entry:
                self._adam.state[master] = entry
