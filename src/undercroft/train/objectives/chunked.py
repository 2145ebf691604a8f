"""Any loss of logits without holding them all: made for some targets at a time, and dropped.

As `token_loss` does by hand for the cross-entropy, for losses whose gradient is left to autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from undercroft.train.models.limits import CHUNK_BYTES

Sums = tuple[Tensor, Tensor]
"""A loss summed over some targets (a scalar with a graph), and sums to report with it (M)."""
LossOf = Callable[[Tensor, slice], Sums]
"""``(logits_cv, rows) -> Sums``: of the C targets in ``rows``, logits in float32 or wider."""


def summed(head: Any, hidden_ad: Tensor, loss_of: LossOf) -> Sums:
    """``loss_of`` the logits that ``head`` gives A targets, added up.

    A head that is not one matrix is asked for all logits at once.
    """
    if not is_matrix(head):
        logits_av = head(hidden_ad)
        return loss_of(logits_av.to(_wide(logits_av)), slice(0, len(hidden_ad)))
    loss, sums_m = _Summed.apply(hidden_ad, head.weight, loss_of)
    return loss, sums_m


def is_matrix(head: Any) -> bool:
    """Whether logits are hidden states times one matrix, and nothing else."""
    return type(head) is torch.nn.Linear and head.bias is None


def logits_in_chunks(head: Any, hidden_ad: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Which targets, and their logits (C, V), as many at a time as `CHUNK_BYTES` hold."""
    size = max(1, CHUNK_BYTES // (4 * len(head.weight)))
    for at in range(0, len(hidden_ad), size):
        rows = slice(at, min(at + size, len(hidden_ad)))
        logits_cv = head(hidden_ad[rows])
        yield rows, logits_cv.to(_wide(logits_cv))


class _Summed(torch.autograd.Function):  # type: ignore[misc]
    """The gradient is made with the loss; `backward` scales it to what the sum is worth."""

    @staticmethod
    def forward(ctx: Any, hidden_ad: Tensor, weight_vd: Tensor, loss_of: LossOf) -> Sums:
        wants_hidden, wants_weight, _ = ctx.needs_input_grad
        wide = _wide(hidden_ad)
        grad_ad = torch.empty_like(hidden_ad) if wants_hidden else None
        grad_vd = torch.zeros_like(weight_vd, dtype=wide) if wants_weight else None
        losses: list[Tensor] = []
        sums: list[Tensor] = []
        size = max(1, CHUNK_BYTES // (4 * len(weight_vd)))
        for at in range(0, len(hidden_ad), size):
            rows = slice(at, min(at + size, len(hidden_ad)))
            logits_cv = (hidden_ad[rows] @ weight_vd.T).to(wide)
            with torch.enable_grad():
                loss, sums_m = loss_of(logits_cv.requires_grad_(), rows)
                error_cv = torch.autograd.grad(loss, logits_cv)[0].to(hidden_ad.dtype)
            losses.append(loss.detach())
            sums.append(sums_m.detach())
            if grad_ad is not None:
                torch.mm(error_cv, weight_vd, out=grad_ad[rows])
            if grad_vd is not None:
                grad_vd += error_cv.T @ hidden_ad[rows]
        ctx.save_for_backward(grad_ad, grad_vd)
        ctx.weight_dtype = weight_vd.dtype
        sums_m = torch.stack(sums).sum(0)
        ctx.mark_non_differentiable(sums_m)
        return torch.stack(losses).sum(), sums_m

    @staticmethod
    def backward(ctx: Any, worth: Tensor, _: Any) -> tuple[Tensor | None, Tensor | None, None]:
        grad_ad, grad_vd = ctx.saved_tensors
        if grad_ad is not None:
            grad_ad = (grad_ad * worth).to(grad_ad.dtype)
        if grad_vd is not None:
            grad_vd = (grad_vd * worth).to(ctx.weight_dtype)
        return grad_ad, grad_vd, None


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
