"""AdamW, or Muon, over full-precision masters of weights that the model itself may hold in bf16.

A bf16 number has 8 significant bits, so that an update of less than about 1/256 of a weight
rounds to nothing; at fine-tuning rates that is most of them. The masters keep what rounding would
lose (Micikevicius et al., "Mixed Precision Training", 2018, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from zlib import crc32

import torch
from torch import Tensor, nn

from undercroft.train.muon import is_matrix_of_a_block, muon, wants_muon
from undercroft.train.parallel.placement import Part, arranged, is_spread, own
from undercroft.train.parallel.team import Alone, Group, Team, share

BETAS = (0.9, 0.95)
EPSILON = 1e-8
_STEP = "step"  # of Adam; one number a weight
_MOMENTS = ("exp_avg", "exp_avg_sq", "momentum_buffer")


class Saved(Protocol):
    """Tensors that were written by any number of ranks."""

    def __contains__(self, name: object, /) -> bool: ...

    def part(self, name: str, at: Sequence[int], size: Sequence[int]) -> Tensor:
        """The block of ``size`` at ``at`` of a whole tensor."""
        ...


@dataclass(frozen=True, eq=False)
class _Stepped:
    """A trainable weight, the master of what is stepped here, and where that lies in the whole.

    Of a weight that all ranks hold whole each rank of ``rows_of`` steps a share of the rows.
    """

    name: str
    weight: nn.Parameter
    master: nn.Parameter
    part: Part
    rows_of: Group | None

    @property
    def rows(self) -> slice:
        return slice(None) if self.rows_of is None else share(self.weight.shape[0], self.rows_of)

    @property
    def is_counted(self) -> bool:
        """Whether this rank is the one that speaks for those that hold the same."""
        return self.part.copy == 0

    @property
    def is_written(self) -> bool:
        """Whether this rank is the one that saves it; those that hold the same share the work."""
        return crc32(self.name.encode()) % self.part.copies == self.part.copy

    def write_back(self) -> None:
        held = own(self.weight)
        if self.rows_of is None:
            held.copy_(self.master)
        else:
            held.copy_(self.rows_of.join(self.master.to(held.dtype), len(held)))


class MasterAdamW:
    """AdamW (Loshchilov and Hutter, 2019) on float32 copies of the trainable weights.

    In a ``team`` all ranks step by the sum of all their gradients. A rank has masters and moments
    of what it holds (`placement`); of matrices that it holds whole though others are spread, such
    as embeddings, those of its share of the rows (ZeRO, Rajbhandari et al. 2020, stage 1).
    Where ``optimizer`` asks for it, matrices of blocks are stepped by Muon instead (`muon`).
    """

    def __init__(
        self,
        model: nn.Module,
        weight_decay: float,
        team: Team | None = None,
        optimizer: str = "adamw",
    ) -> None:
        self._team = team or Alone()
        self._layout = arranged(model, self._team)
        trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
        self._team.data.copy_first(
            [each.detach() for each in trained.values() if not is_spread(each)]
        )
        self._all = [self._stepped(name, weight) for name, weight in trained.items()]
        self._write_back()
        by_muon = wants_muon(optimizer, self._team)
        matrices = [each for each in self._all if each.weight.ndim > 1]
        for_muon = [e for e in matrices if by_muon and is_matrix_of_a_block(e.name, e.weight)]
        orthogonal = [each.master for each in for_muon]
        decayed = [each.master for each in matrices if each not in for_muon]
        plain = [each.master for each in self._all if each.weight.ndim <= 1]
        adam = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            betas=BETAS,
            eps=EPSILON,
            fused=True,
        )
        self._steppers: list[torch.optim.Optimizer] = [adam]
        if orthogonal:
            self._steppers.append(muon(orthogonal, weight_decay))
        self._stepper_of = {
            master: stepper
            for stepper in self._steppers
            for group in stepper.param_groups
            for master in group["params"]
        }

    def _stepped(self, name: str, weight: nn.Parameter) -> _Stepped:
        by_rows = self._team.shard.size > 1 and weight.ndim > 1 and not is_spread(weight)
        rows_of = self._team.shard if by_rows else None
        held = own(weight.detach())
        if rows_of is not None:
            held = held[share(len(held), rows_of)]
        master = nn.Parameter(held.float().clone())
        return _Stepped(name, weight, master, self._part(name, weight, by_rows), rows_of)

    def _part(self, name: str, weight: Tensor, by_rows: bool) -> Part:
        return self._layout.part(name, weight, by_rows=by_rows)

    def masters(self) -> dict[str, nn.Parameter]:
        """Of each trained weight, by name, what is stepped here.

        What several ranks hold alike is told by one of them.
        """
        return {each.name: each.master for each in self._all if each.is_counted}

    def gather(self, max_norm: float, scale: float = 1.0) -> float:
        """Take the gradients over from the weights and clip them; returns their norm before.

        They come ``scale`` times as large as they are. Not finite when any gradient of any rank is
        not.
        """
        grads = [None if e.weight.grad is None else own(e.weight.grad).float() for e in self._all]
        for each in self._all:
            each.weight.grad = None
        if scale != 1:
            torch._foreach_div_([grad for grad in grads if grad is not None], scale)
        if self._team.size > 1:
            grads = self._added_up(grads)
        for each, grad in zip(self._all, grads, strict=True):
            each.master.grad = grad if grad is None else grad[each.rows].contiguous()
        masters = [each.master for each in self._all]
        if self._team.size == 1:
            return float(nn.utils.clip_grad_norm_(masters, max_norm))
        norm = self._norm()
        nn.utils.clip_grads_with_norm_(masters, max_norm, norm)
        return float(norm)

    def _added_up(self, grads: list[Tensor | None]) -> list[Tensor | None]:
        """The sums over all who have a share in them: of whole weights those that read other
        samples (of spread ones these are sums already), and those of `Arrangement`."""
        layout, team = self._layout, self._team
        self._sum(team.data, grads, [not is_spread(each.weight) for each in self._all])
        self._sum(team.tensor, grads, [each.name in layout.partial for each in self._all])
        self._sum(team.ends, grads, [each.name in layout.tied for each in self._all])
        return grads

    def _sum(self, group: Group, grads: list[Tensor | None], chosen: Sequence[bool]) -> None:
        """Put the sums over ``group`` in place of the ``chosen`` gradients.

        A weight has a gradient when it has one on any of the ranks.
        """
        if group.size == 1 or not any(chosen):
            return
        places = [place for place, is_chosen in enumerate(chosen) if is_chosen]
        has_one = torch.tensor(
            [float(grads[place] is not None) for place in places], device=self._team.device
        )
        found = [_or_zeros(grads[place], self._all[place].weight) for place in places]
        group.add([has_one, *found])
        for place, grad, has in zip(places, found, has_one.tolist(), strict=True):
            grads[place] = grad if has else None

    def _norm(self) -> Tensor:
        """Of the gradient of the whole model, wherever its parts are."""
        squares = torch.zeros(1, dtype=torch.float64, device=self._team.device)
        for each in self._all:
            if each.is_counted and each.master.grad is not None:
                squares += each.master.grad.square().sum()
        self._team.add([squares])
        return squares[0].sqrt().float()

    def step(self, rate: float) -> None:
        """One update at learning rate ``rate``, written back to the weights."""
        for stepper in self._steppers:
            for group in stepper.param_groups:
                group["lr"] = rate
            stepper.step()
        self._write_back()
        self.discard()

    def _write_back(self) -> None:
        with torch.no_grad():
            whole = [each for each in self._all if each.rows_of is None]
            torch._foreach_copy_([own(e.weight) for e in whole], [e.master for e in whole])
            for each in self._all:
                if each.rows_of is not None:
                    each.write_back()

    def discard(self) -> None:
        """Forget the gradients."""
        for each in self._all:
            each.weight.grad = each.master.grad = None

    def state(self) -> dict[str, tuple[Tensor, Part]]:
        """Masters and moments by name, as they are (not copies), and where they lie in the whole:
        those that this rank saves."""
        found: dict[str, tuple[Tensor, Part]] = {}
        for each in self._all:
            if not each.is_written:
                continue
            moments = self._stepper_of[each.master].state.get(each.master, {})
            entry = {"master": each.master.detach(), **moments}
            for key, value in entry.items():
                found[f"{key}.{each.name}"] = (value, Part((), ()) if key == _STEP else each.part)
        return found

    def load(self, saved: Saved) -> None:
        """Take up what `state` gave, on any number of ranks, and set the weights from it."""
        for each in self._all:
            at, size = each.part.at, each.master.shape
            with torch.no_grad():
                each.master.copy_(saved.part(f"master.{each.name}", at, size))
            state = self._stepper_of[each.master].state
            state.pop(each.master, None)
            entry: dict[str, Any] = {
                key: saved.part(f"{key}.{each.name}", at, size).to(each.master.device)
                for key in _MOMENTS
                if f"{key}.{each.name}" in saved
            }
            if f"{_STEP}.{each.name}" in saved:
                entry[_STEP] = saved.part(f"{_STEP}.{each.name}", (), ()).to(each.master.device)
            if entry:
                state[each.master] = entry
        self._write_back()


def _or_zeros(grad: Tensor | None, weight: Tensor) -> Tensor:
    return torch.zeros_like(own(weight), dtype=torch.float32) if grad is None else grad
