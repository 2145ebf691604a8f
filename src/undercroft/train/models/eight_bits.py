"""Products with the matrices of blocks in 8 bits, on devices that have units for them.

Numbers are e4m3 in weights and activations and e5m2 in gradients, which need range rather than
digits, each tensor with a scale by its greatest number at the moment; sums are float32
(Micikevicius et al., "FP8 Formats for Deep Learning", 2022, sections 2 and 3). Weights stay as they
are held, and all else is computed as without.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from undercroft.errors import BadConfig
from undercroft.settings.parallel import FP8_UNITS

WEIGHT: Final = torch.float8_e4m3fn
GRADIENT: Final = torch.float8_e5m2
#: Sides of matrices are multiples of it (`torch._scaled_mm`); rows are filled up with zeros.
SIDE: Final = 16
#: Compute capability of the first devices that have the units, NVIDIA's Ada.
CAPABLE: Final = (8, 9)
_LEAST: Final = 1e-12
_HEAD: Final = "lm_head"  # objectives read its matrix


def check(device: torch.device, tensor: int) -> None:
    """Raises `BadConfig` where ``device`` has no such units, or matrices are shared by tensor
    parallelism."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < CAPABLE:
        raise BadConfig(
            f"precision is fp8, which {device} has no units for.",
            f"They are in {FP8_UNITS}, and in no processor.",
            "Set precision to bf16.",
        )
    if tensor > 1:
        raise BadConfig(
            "fp8 does not go together with shared matrices.",
            f"parallel.tensor is {tensor}, and a scale is of a whole matrix.",
            "Set parallel.tensor to 1; shard and pipeline do as well. Or set precision to bf16.",
        )


def use(model: nn.Module) -> int:
    """Let the linear layers of ``model`` compute in 8 bits, but for its head, adapters and those
    with odd sides; gives how many do. Names and weights stay."""
    changed = 0
    for name, layer in model.named_modules():
        if type(layer) is not nn.Linear or name.endswith(_HEAD) or "lora_" in name:
            continue
        if layer.in_features % SIDE == 0 and layer.out_features % SIDE == 0:
            layer.forward = partial(_forward, layer)
            changed += 1
    return changed


def _forward(layer: nn.Linear, x: Tensor) -> Tensor:
    y: Tensor = _Product.apply(x.flatten(0, -2), layer.weight)
    y = y.unflatten(0, x.shape[:-1])
    return y if layer.bias is None else y + layer.bias


def narrowed(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """``x`` in 8 bits and the scale () by which it is to be multiplied. What is not finite stays
    so."""
    scale = x.abs().amax().float().clamp(min=_LEAST) / torch.finfo(dtype).max
    return (x.float() / scale).to(dtype), scale


class _Product(torch.autograd.Function):  # type: ignore[misc]
    """x (A, I) and weight (O, I) -> (A, O); the two are kept in 8 bits for the way back."""

    @staticmethod
    def forward(ctx: Any, x_ai: Tensor, weight_oi: Tensor) -> Tensor:
        rows = len(x_ai)
        x8_ai, x_scale = narrowed(_filled(x_ai), WEIGHT)
        w8_oi, w_scale = narrowed(weight_oi, WEIGHT)
        ctx.save_for_backward(x8_ai, x_scale, w8_oi, w_scale)
        return _product(x8_ai, x_scale, w8_oi.t(), w_scale, x_ai.dtype)[:rows]

    @staticmethod
    def backward(ctx: Any, grad_ao: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x8_ai, x_scale, w8_oi, w_scale = ctx.saved_tensors
        g8_ao, g_scale = narrowed(_filled(grad_ao), GRADIENT)
        grad_x = grad_w = None
        if ctx.needs_input_grad[0]:
            grad_x = _product(g8_ao, g_scale, _by_columns(w8_oi), w_scale, grad_ao.dtype)
            grad_x = grad_x[: len(grad_ao)]
        if ctx.needs_input_grad[1]:
            g8_oa = g8_ao.t().contiguous()
            grad_w = _product(g8_oa, g_scale, _by_columns(x8_ai), x_scale, grad_ao.dtype)
        return grad_x, grad_w


def _product(
    left: Tensor, left_scale: Tensor, right: Tensor, right_scale: Tensor, dtype: torch.dtype
) -> Tensor:
    """Of rows and columns that lie together in memory, as the units read them."""
    found: Tensor = torch._scaled_mm(
        left, right, scale_a=left_scale, scale_b=right_scale, out_dtype=dtype
    )
    return found


def _by_columns(matrix: Tensor) -> Tensor:
    return matrix.t().contiguous().t()


def _filled(x_ai: Tensor) -> Tensor:
    return functional.pad(x_ai, (0, 0, 0, -len(x_ai) % SIDE))
