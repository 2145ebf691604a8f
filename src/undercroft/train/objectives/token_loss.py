"""Cross-entropy over a large vocabulary without holding its logits.

The logits of a model with a vocabulary of V take V numbers a target, in the model's format, in
float32, and again for the gradient: more than everything else in training a small model. Here they
are made for some targets at a time, turned into losses and at once into the gradient of the hidden
states, and dropped (as in Liger Kernel, Hsu et al. 2024).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from undercroft.train.models.limits import CHUNK_BYTES


def token_losses(model: Any, hidden_ad: Tensor, labels_a: Tensor) -> tuple[Tensor, Tensor]:
    """Of each of A targets its cross-entropy (float32 or wider), and whether it was the likeliest.

    ``hidden_ad`` is what the model's head reads. A head that is not one matrix is asked for all
    logits at once.
    """
    weight_vd = _matrix(model.lm_head)
    if weight_vd is None:
        return _whole(model.lm_head, hidden_ad, labels_a)
    losses_a, is_right_a = _TokenLosses.apply(hidden_ad, weight_vd, labels_a)
    return losses_a, is_right_a


def _matrix(head: Any) -> Tensor | None:
    weight: Tensor = head.weight
    return weight if type(head) is torch.nn.Linear and head.bias is None else None


def _whole(head: Any, hidden_ad: Tensor, labels_a: Tensor) -> tuple[Tensor, Tensor]:
    logits_av = head(hidden_ad).float()
    losses_a = torch.nn.functional.cross_entropy(logits_av, labels_a, reduction="none")
    return losses_a, logits_av.detach().argmax(-1) == labels_a


class _TokenLosses(torch.autograd.Function):  # type: ignore[misc]
    """The gradient is that of the sum; `backward` scales it to what each loss is worth."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ad: Tensor, weight_vd: Tensor, labels_a: Tensor
    ) -> tuple[Tensor, Tensor]:
        wants_hidden, wants_weight, _ = ctx.needs_input_grad
        losses_a = hidden_ad.new_empty(len(labels_a), dtype=_wide(hidden_ad.dtype))
        is_right_a = hidden_ad.new_empty(len(labels_a), dtype=torch.bool)
        grad_ad = torch.empty_like(hidden_ad) if wants_hidden else None
        grad_vd = torch.zeros_like(weight_vd, dtype=losses_a.dtype) if wants_weight else None
        for rows in _chunks(len(labels_a), len(weight_vd)):
            label_c1 = labels_a[rows, None]
            losses_a[rows], is_right_a[rows], probs_cv = _scored(
                hidden_ad[rows], weight_vd, label_c1
            )
            if grad_ad is None and grad_vd is None:
                continue
            error_cv = _error(probs_cv, label_c1, hidden_ad.dtype)
            if grad_ad is not None:
                torch.mm(error_cv, weight_vd, out=grad_ad[rows])
            if grad_vd is not None:
                grad_vd += error_cv.T @ hidden_ad[rows]
        ctx.save_for_backward(hidden_ad, weight_vd, labels_a, grad_ad, grad_vd)
        ctx.mark_non_differentiable(is_right_a)
        return losses_a, is_right_a

    @staticmethod
    def backward(ctx: Any, worth_a: Tensor, _: Any) -> tuple[Tensor | None, Tensor | None, None]:
        hidden_ad, weight_vd, labels_a, grad_ad, grad_vd = ctx.saved_tensors
        if grad_ad is not None:
            grad_ad = (grad_ad * worth_a[:, None]).to(hidden_ad.dtype)
        if grad_vd is not None:
            if bool((worth_a == worth_a[:1]).all()):
                grad_vd = grad_vd * worth_a[:1]
            else:
                grad_vd = _weighed(hidden_ad, weight_vd, labels_a, worth_a)
            grad_vd = grad_vd.to(weight_vd.dtype)
        return grad_ad, grad_vd, None


def _weighed(hidden_ad: Tensor, weight_vd: Tensor, labels_a: Tensor, worth_a: Tensor) -> Tensor:
    """The gradient of the head where losses are worth unlike: their errors are made again."""
    grad_vd = torch.zeros_like(weight_vd, dtype=_wide(weight_vd.dtype))
    for rows in _chunks(len(labels_a), len(weight_vd)):
        label_c1 = labels_a[rows, None]
        probs_cv = _scored(hidden_ad[rows], weight_vd, label_c1)[2]
        error_cv = _error(probs_cv, label_c1, hidden_ad.dtype)
        grad_vd += error_cv.T @ (hidden_ad[rows] * worth_a[rows, None]).to(hidden_ad.dtype)
    return grad_vd


def _chunks(total: int, vocabulary: int) -> list[slice]:
    size = max(1, CHUNK_BYTES // (4 * vocabulary))
    return [slice(at, min(at + size, total)) for at in range(0, total, size)]


def _scored(
    hidden_cd: Tensor, weight_vd: Tensor, label_c1: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses of a chunk, whether its labels are the likeliest, and all probabilities (C, V).

    The logarithm of the sum in a softmax follows from the likeliest, which is never near 0. A
    softmax that is told to widen its numbers takes eight times as long as two operations that do.
    """
    logits_cv = hidden_cd @ weight_vd.T
    wide_cv = logits_cv.to(_wide(logits_cv.dtype))
    probs_cv = wide_cv.softmax(-1)
    most_c, of_label_c = wide_cv.amax(-1), wide_cv.gather(1, label_c1)[:, 0]
    losses_c = most_c - probs_cv.amax(-1).log() - of_label_c
    return losses_c, of_label_c >= most_c, probs_cv


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _error(probs_cv: Tensor, label_c1: Tensor, dtype: torch.dtype) -> Tensor:
    """Probabilities less 1 at the label: the gradient of the logits, made in ``probs_cv``."""
    probs_cv.scatter_add_(1, label_c1, torch.full_like(label_c1, -1, dtype=probs_cv.dtype))
    return probs_cv.to(dtype)
