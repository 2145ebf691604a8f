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

from undercroft.train.parallel.placement import is_spread, own
from undercroft.train.parallel.team import Alone, Team
from undercroft.train.parallel.team import share as rows

BETAS = (0.9, 0.95)
EPSILON = 1e-8
_STEP = "step"  # of Adam; one number a weight


class MasterAdamW:
    """AdamW (Loshchilov and Hutter, 2019) on float32 copies of the trainable weights.

    In a ``team`` all ranks step by the sum of all their gradients, and hold the same masters; of
    weights that are spread over the ranks (`sharding`) the masters of the rows that they hold.
    """

    def __init__(self, model: nn.Module, weight_decay: float, team: Team | None = None) -> None:
        self._team = team or Alone()
        self._names = [name for name, weight in model.named_parameters() if weight.requires_grad]
        weights = dict(model.named_parameters())
        self._weights = [weights[name] for name in self._names]
        self._spread = [is_spread(weight) for weight in self._weights]
        self._masters = [
            nn.Parameter(own(weight.detach()).float().clone()) for weight in self._weights
        ]
        self._team.copy_first([master.detach() for master in self._whole()])
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
            master.grad = None if weight.grad is None else own(weight.grad).float()
            weight.grad = None
        self._add_up()
        if not any(self._spread):
            return float(nn.utils.clip_grad_norm_(self._masters, max_norm))
        return self._clip_spread(max_norm)

    def _whole(self) -> list[nn.Parameter]:
        """The masters that every rank has."""
        return [m for m, spread in zip(self._masters, self._spread, strict=True) if not spread]

    def _add_up(self) -> None:
        """Sum the gradients of whole weights over all ranks; those of spread ones are sums already.

        A weight has a gradient when it has one on any of them.
        """
        if self._team.size == 1:
            return
        masters = self._whole()
        has_one = torch.tensor([float(m.grad is not None) for m in masters])
        found = [torch.zeros_like(m) if m.grad is None else m.grad for m in masters]
        self._team.add([has_one, *found])
        for master, grad, has in zip(masters, found, has_one.tolist(), strict=True):
            master.grad = grad if has else None

    def _clip_spread(self, max_norm: float) -> float:
        """As torch clips: the norm is of all rows, wherever they are."""
        squares = torch.zeros(2)  # of whole gradients, and of spread ones
        for master, spread in zip(self._masters, self._spread, strict=True):
            if master.grad is not None:
                squares[int(spread)] += master.grad.square().sum()
        self._team.add([squares[1:]])
        norm = squares.sum().sqrt()
        nn.utils.clip_grads_with_norm_(self._masters, max_norm, norm)
        return float(norm)

    def masters(self) -> dict[str, tuple[nn.Parameter, bool]]:
        """By the weight's name what is stepped, and whether it is only some rows of it."""
        parts = zip(self._names, self._masters, self._spread, strict=True)
        return {name: (master, spread) for name, master, spread in parts}

    def step(self, rate: float) -> None:
        """One update at learning rate ``rate``, written back to the weights."""
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        self._write_back()
        self.discard()

    def _write_back(self) -> None:
        with torch.no_grad():
            torch._foreach_copy_([own(weight) for weight in self._weights], self._masters)

    def discard(self) -> None:
        """Forget the gradients."""
        for weight, master in zip(self._weights, self._masters, strict=True):
            weight.grad = master.grad = None

    def state(self) -> dict[str, Tensor]:
        """Masters and moments by name, all rows of them; as they are (not copies) if not spread.

        Every rank must ask when weights are spread.
        """
        tensors: dict[str, Tensor] = {}
        parts = zip(self._names, self._weights, self._masters, self._spread, strict=True)
        for name, weight, master, spread in parts:
            found = {"master": master.detach(), **self._adam.state.get(master, {})}
            for key, value in found.items():
                is_part = spread and key != _STEP
                whole = self._team.join(value, weight.shape[0]) if is_part else value
                tensors[f"{key}.{name}"] = whole
        return tensors

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `state` gave, for any number of ranks, and set the weights from it."""
        parts = zip(self._names, self._weights, self._masters, self._spread, strict=True)
        for name, weight, master, spread in parts:
            mine = rows(weight.shape[0], self._team) if spread else ...
            with torch.no_grad():
                master.copy_(tensors[f"master.{name}"][mine])
                own(weight).copy_(master)
            self._adam.state.pop(master, None)
            entry: dict[str, Any] = {
                key: tensors[f"{key}.{name}"][... if key == _STEP else mine].clone()
                for key in (_STEP, "exp_avg", "exp_avg_sq")
                if f"{key}.{name}" in tensors
            }
            if entry:
                self._adam.state[master] = entry
