"""Llama's blocks by hand: what the library's code computes, in fewer passes over memory.

On a CPU a small model could train at the speed of its products with weights, if what lies between
them did not take as long again: the library's code is one operation after another, each read,
written and kept for its gradient. Here a block is four functions with backward passes of their own:
a norm, products that share what they read (with their adapters), positions, and attention.

`by_hand` puts them in for as long as a forward pass takes, where a block is made of nothing but
what they know. Any other block runs as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from undercroft.train.models.attention import Layout, attend, ungrouped
from undercroft.train.models.lora import AdaptedLinear
from undercroft.train.parallel.placement import is_spread


@contextmanager
def by_hand(model: nn.Module) -> Iterator[None]:
    """Within the block those blocks of ``model`` that can be are computed by the functions here.

    They want ``layout=`` and one sequence. What hangs on a whole block (hooks, checkpoints of
    activations) works as ever.
    """
    known = [each for each in model.modules() if _is_known(each)]
    for each in known:
        each.forward = partial(_forward, each)
    try:
        yield
    finally:
        for each in known:
            del each.forward


def _is_known(block: nn.Module) -> bool:
    """Whether ``block`` is one of Llama's, and nobody asked to be told of what is within."""
    from transformers.models.llama import modeling_llama as llama

    if type(block) is not llama.LlamaDecoderLayer or torch.is_autocast_enabled("cpu"):
        return False
    attention: Any = block.self_attn
    mlp: Any = block.mlp
    linears = [getattr(attention, f"{name}_proj") for name in "qkvo"]
    linears += [mlp.gate_proj, mlp.up_proj, mlp.down_proj]
    return (
        type(attention) is llama.LlamaAttention
        and type(mlp) is llama.LlamaMLP
        and mlp.config.hidden_act == "silu"
        and not (block.training and attention.attention_dropout)
        and all(map(_is_plain, linears))
        and not any(map(is_spread, block.parameters()))
        and not any(map(_is_changed, block.modules()))
        and not any(_is_watched(each) for each in block.modules() if each is not block)
    )


def _is_plain(layer: nn.Module) -> bool:
    """Whether a layer is a matrix, with an adapter or without."""
    if type(layer) is AdaptedLinear:
        return _is_plain(layer.base_layer) and not (layer.training and layer.dropout.p)
    return type(layer) is nn.Linear and layer.bias is None


def _is_changed(module: nn.Module) -> bool:
    return "forward" in vars(module) or module._compiled_call_impl is not None


def _is_watched(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def _forward(
    block: Any,
    hidden_states: Tensor,
    *,
    position_embeddings: tuple[Tensor, Tensor],
    layout: Layout,
    **others: Any,  # noqa: ARG001
) -> Tensor:
    """A block as the library calls it, on one sequence (1, T, D)."""
    x_td = hidden_states[0]
    attention, mlp = block.self_attn, block.mlp
    turn_td = (position_embeddings[0][0], position_embeddings[1][0])
    h_td = norm(x_td, block.input_layernorm)
    q_te, k_tf, v_tf = products(h_td, (attention.q_proj, attention.k_proj, attention.v_proj))
    width = attention.head_dim
    shared = k_tf.shape[1] // width
    out_thd = attend(
        _Turn.apply(q_te, *turn_td, shared),
        _Turn.apply(k_tf, *turn_td, shared),
        v_tf.unflatten(1, (shared, width)).transpose(0, 1),
        attention.scaling,
        layout,
    )
    x_td = added(x_td, out_thd.flatten(1), attention.o_proj)
    h_td = norm(x_td, block.post_attention_layernorm)
    gate_tf, up_tf = products(h_td, (mlp.gate_proj, mlp.up_proj))
    return added(x_td, functional.silu(gate_tf) * up_tf, mlp.down_proj)[None]


def norm(x_td: Tensor, layer: Any) -> Tensor:
    """Root-mean-square norm (Zhang and Sennrich 2019), computed in float32 or wider."""
    normed_td: Tensor = _Norm.apply(x_td, layer.weight, layer.variance_epsilon)
    return normed_td


class _Norm(torch.autograd.Function):  # type: ignore[misc]
    """y = w x / r with r² = mean(x²) + e; keeps x and 1 / r.

    With g = w dy and y' = x / r, dx = (g - y' mean(g y')) / r.
    """

    @staticmethod
    def forward(ctx: Any, x_td: Tensor, weight_d: Tensor, epsilon: float) -> Tensor:
        wide_td = x_td.to(torch.promote_types(x_td.dtype, torch.float32))
        length_t1 = torch.linalg.vector_norm(wide_td, dim=-1, keepdim=True)
        scale_t1 = length_t1.square_().div_(x_td.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x_td, weight_d, scale_t1)
        return (wide_td * scale_t1).mul_(weight_d).to(x_td.dtype)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad_td: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x_td, weight_d, scale_t1 = ctx.saved_tensors
        wide = scale_t1.dtype
        normed_td, grad_wide_td = x_td.to(wide) * scale_t1, grad_td.to(wide)
        both_td = normed_td * grad_wide_td
        to_weight_d = both_td.sum(0).to(weight_d.dtype) if ctx.needs_input_grad[1] else None
        mean_t1 = (both_td @ weight_d.to(wide)[:, None]).div_(-x_td.shape[-1])
        to_x_td = (grad_wide_td * weight_d).addcmul_(normed_td, mean_t1).mul_(scale_t1)
        return to_x_td.to(x_td.dtype), to_weight_d, None


class _Turn(torch.autograd.Function):  # type: ignore[misc]
    """Rotary positions (Su et al. 2021) on heads side by side (T, H * D); gives (H, T, D).

    Lies in memory as `attention.grouped` would have it, for ``shared`` heads of keys.
    """

    @staticmethod
    def forward(ctx: Any, x_te: Tensor, cos_td: Tensor, sin_td: Tensor, shared: int) -> Tensor:
        x_htd = x_te.unflatten(1, (-1, cos_td.shape[-1])).transpose(0, 1)
        heads, count, width = x_htd.shape
        out_htd = ungrouped(x_te.new_empty(shared, count * (heads // shared), width), heads)
        ctx.save_for_backward(cos_td, sin_td)
        return _turn(x_htd, cos_td, sin_td, out_htd)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad_htd: Tensor) -> tuple[Tensor, None, None, None]:
        cos_td, sin_td = ctx.saved_tensors
        heads, count, width = grad_htd.shape
        to_x_thd = grad_htd.new_empty(count, heads, width)
        _turn(grad_htd, cos_td, -sin_td, to_x_thd.transpose(0, 1))
        return to_x_thd.flatten(1), None, None, None


def _turn(x_htd: Tensor, cos_td: Tensor, sin_td: Tensor, out_htd: Tensor) -> Tensor:
    """Turn number i and i + D / 2 of each head by the angle of its position; gives ``out_htd``."""
    torch.mul(x_htd, cos_td, out=out_htd)
    (x1, x2), (sin1, sin2), (out1, out2) = (
        each.chunk(2, dim=-1) for each in (x_htd, sin_td, out_htd)
    )
    out1.addcmul_(x2, sin1, value=-1)
    out2.addcmul_(x1, sin2)
    return out_htd


def products(x_td: Tensor, layers: Sequence[Any]) -> tuple[Tensor, ...]:
    """What each of ``layers`` makes of ``x_td`` (T, its width)."""
    found: tuple[Tensor, ...] = _Products.apply(x_td, None, *_split(layers))
    return found


def added(stream_te: Tensor, x_td: Tensor, layer: Any) -> Tensor:
    """``stream_te`` and what ``layer`` makes of ``x_td``."""
    (found_te,) = _Products.apply(x_td, stream_te, *_split([layer]))
    return found_te


def _split(layers: Sequence[Any]) -> tuple[Any, ...]:
    """What adapters are multiplied by, and for each layer three weights: see `_Products`."""
    scales: list[float] = []
    weights: list[Tensor | None] = []
    for layer in layers:
        if type(layer) is AdaptedLinear:
            is_on = layer.is_on
            down, up = (each.weight if is_on else None for each in (layer.lora_A, layer.lora_B))
            weights += [layer.base_layer.weight, down, up]
            scales.append(layer.scaling)
        else:
            weights += [layer.weight, None, None]
            scales.append(1.0)
    return tuple(scales), *weights


class _Products(torch.autograd.Function):  # type: ignore[misc]
    """y = x W' + s (x A') B' for some layers, to which the first adds a stream if there is one.

    ``weights`` are W (out, in), A (r, in) and B (out, r) of each layer; A and B may be None, and
    are computed in the format of x. What is frozen gets no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x_td: Tensor,
        stream_te: Tensor | None,
        scales: tuple[float, ...],
        *weights: Tensor | None,
    ) -> tuple[Tensor, ...]:
        matrices: Any = weights[::3]
        found = [
            x_td @ each.T if stream_te is None else torch.addmm(stream_te, x_td, each.T)
            for each in matrices
        ]
        downs = [each for each in weights[1::3] if each is not None]
        ups = [
            None if each is None else (each * scale).to(x_td.dtype)
            for each, scale in zip(weights[2::3], scales, strict=True)
        ]
        down_rd = torch.cat(downs).to(x_td.dtype) if downs else None
        low_tr = None if down_rd is None else x_td @ down_rd.T
        if low_tr is not None:
            for y_te, up, rows in zip(found, ups, _ranks(ups), strict=True):
                if up is not None:
                    y_te.addmm_(low_tr[:, rows], up.T)
        ctx.save_for_backward(x_td, low_tr, down_rd, *matrices, *ups)
        ctx.scales = scales
        return tuple(found)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        x_td, low_tr, down_rd, *rest = ctx.saved_tensors
        matrices, ups = rest[: len(grads)], rest[len(grads) :]
        wants_x, wants_stream, _, *wants = ctx.needs_input_grad
        to_low_tr = None if low_tr is None else torch.empty_like(low_tr)
        to_weights: list[Tensor | None] = []
        for number, (grad_te, up, rows) in enumerate(zip(grads, ups, _ranks(ups), strict=True)):
            to_weights += [grad_te.T @ x_td if wants[3 * number] else None, None, None]
            if up is not None and low_tr is not None and to_low_tr is not None:
                to_low_tr[:, rows] = grad_te @ up
                to_up = (grad_te.T @ low_tr[:, rows]).to(torch.float32)
                to_weights[-1] = to_up.mul_(ctx.scales[number])
        if to_low_tr is not None:
            to_down_rd = (to_low_tr.T @ x_td).to(torch.float32)
            for number, rows in enumerate(_ranks(ups)):
                if ups[number] is not None:
                    to_weights[3 * number + 1] = to_down_rd[rows]
        to_x_td = _sum_of_products(grads, matrices, to_low_tr, down_rd) if wants_x else None
        return to_x_td, grads[0] if wants_stream else None, None, *to_weights


def _ranks(ups: Sequence[Tensor | None]) -> list[slice]:
    """Which columns of what all adapters read belong to each of them."""
    ends = accumulate((0 if up is None else up.shape[1] for up in ups), initial=0)
    return [slice(first, last) for first, last in pairwise(ends)]


def _sum_of_products(
    grads: Sequence[Tensor],
    matrices: Sequence[Tensor],
    to_low_tr: Tensor | None,
    down_rd: Tensor | None,
) -> Tensor:
    """The gradient of what all layers read."""
    total_td = grads[0] @ matrices[0]
    for grad_te, matrix in zip(grads[1:], matrices[1:], strict=True):
        total_td.addmm_(grad_te, matrix)
    if to_low_tr is not None and down_rd is not None:
        total_td.addmm_(to_low_tr, down_rd)
    return total_td
