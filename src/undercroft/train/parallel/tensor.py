"""Matrices shared by processes: each holds some heads, and some of the feed-forward's width.

As in Megatron-LM (Shoeybi et al. 2019): the matrices that lead into attention and feed-forward are
cut by outputs, those that lead out by inputs, so that all between is computed from what a rank
holds, and one sum over the ranks brings the results together. With ``sequence`` the stream between
them is cut by tokens, too (Korthikanti et al. 2022): norms and sums are computed once, not by all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from undercroft.errors import BadConfig
from undercroft.train.parallel.team import Group, share

_INTO: Final = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
_OUT: Final = ("o_proj", "down_proj")
_HALVES: Final = ("self_attn", "mlp")


def check(config: Any, size: int) -> None:
    """Raise `BadConfig` for a model whose heads or width ``size`` ranks cannot share evenly."""
    shared = {
        "heads": config.num_attention_heads,
        "kv_heads": getattr(config, "num_key_value_heads", None) or config.num_attention_heads,
        "feed_forward": config.intermediate_size,
    }
    for name, number in shared.items():
        if number % size:
            fitting = max(n for n in range(1, size) if not any(v % n for v in shared.values()))
            raise BadConfig(
                f"parallel.tensor is {size}, of which {number} {name} get no even share.",
                "Each of the ranks holds as many heads, and as much of the feed-forward.",
                f"Set it to {fitting}, and leave the rest to shard or pipeline.",
            )


def split(
    blocks: Mapping[str, nn.Module], group: Group, *, sequence: bool
) -> tuple[dict[str, int], set[str]]:
    """Keep this rank's share of the matrices in ``blocks``, by the names of these.

    Gives the dimension by which each weight was cut, and the weights of whose gradient a rank finds
    a part. Raises `BadConfig` for blocks of another kind than Llama's.
    """
    splits: dict[str, int] = {}
    partial_ones: set[str] = set()
    for name, block in blocks.items():
        found = dict(_cuts(block))
        for own, weight in block.named_parameters():
            if own in found:
                _keep(weight, found[own], group)
                splits[f"{name}.{own}"] = found[own]
            elif sequence or own.startswith(tuple(f"{half}." for half in _HALVES)):
                partial_ones.add(f"{name}.{own}")
        _connect(block, group, sequence=sequence)
    return splits, partial_ones


def _cuts(block: nn.Module) -> Iterator[tuple[str, int]]:
    """The weights that are cut, and by which dimension; adapters (LoRA) as their layers are."""
    for half in _HALVES:
        inner = getattr(block, half, None)
        names = [n for n in (*_INTO, *_OUT) if hasattr(inner, n)]
        if not {*_OUT} & {*names} or not {*_INTO} & {*names}:
            raise BadConfig(
                "The matrices of this model cannot be shared by processes.",
                f"Its blocks have no {half} with the layers of Llama's.",
                "Set parallel.tensor to 1; shard and pipeline do for other models as well.",
            )
        for name in names:
            layer = getattr(inner, name)
            where = f"{half}.{name}."
            base = "base_layer." if hasattr(layer, "base_layer") else ""
            matrix = getattr(layer, "base_layer", layer)
            if type(matrix) is not nn.Linear:
                raise BadConfig(
                    f"The matrices of this model cannot be shared by processes: {name} is none.",
                    f"It is held as {type(matrix).__name__}.",
                    "Set parallel.tensor to 1, or hold the weights in full.",
                )
            has_bias = matrix.bias is not None
            if name in _INTO:
                yield f"{where}{base}weight", 0
                yield f"{where}lora_B.weight", 0
                yield f"{where}{base}bias", 0
                continue
            if has_bias:
                raise BadConfig(
                    f"The matrices of this model cannot be shared by processes: {name} has a bias.",
                    "Each of them would add it.",
                    "Set parallel.tensor to 1.",
                )
            yield f"{where}{base}weight", 1
            yield f"{where}lora_A.weight", 1


def _keep(weight: Tensor, dim: int, group: Group) -> None:
    mine = share(weight.shape[dim], group)
    weight.data = weight.data.narrow(dim, mine.start, mine.stop - mine.start).clone()


def _connect(block: Any, group: Group, *, sequence: bool) -> None:
    """Let what goes into a half of ``block`` reach all ranks, and sum what comes out of it."""
    enter, leave = (_Join, _SumRows) if sequence else (_Reach, _Sum)
    for half in _HALVES:
        inner = getattr(block, half)
        inner.register_forward_pre_hook(partial(_before, enter, group), with_kwargs=True)
        for name in _OUT:
            if hasattr(inner, name):
                getattr(inner, name).register_forward_hook(partial(_after, leave, group))


def cut_stream(first: nn.Module, last: nn.Module, group: Group) -> None:
    """Cut the stream by tokens before the block ``first`` and join it behind ``last``."""
    first.register_forward_pre_hook(partial(_before, _Cut, group), with_kwargs=True)
    last.register_forward_hook(partial(_after, _JoinCopies, group))


def _before(
    function: Any, group: Group, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    del module
    if args:
        return (function.apply(args[0], group), *args[1:]), kwargs
    return args, {**kwargs, "hidden_states": function.apply(kwargs["hidden_states"], group)}


def _after(function: Any, group: Group, module: nn.Module, args: Any, out: Tensor) -> Tensor:
    del module, args
    result: Tensor = function.apply(out, group)
    return result


def _summed(x: Tensor, group: Group) -> Tensor:
    total = x.contiguous().clone()
    group.add([total])
    return total


def _by_rows(work: Callable[[Tensor], Tensor], x_btd: Tensor) -> Tensor:
    """``work`` on the tokens as rows."""
    return work(x_btd.transpose(0, 1).contiguous()).transpose(0, 1)


def _mine(x_btd: Tensor, group: Group) -> Tensor:
    return x_btd[:, share(x_btd.shape[1], group)]


class _Reach(torch.autograd.Function):  # type: ignore[misc]
    """As it is; going back, the sum over the ranks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _summed(grad, ctx.group), None


class _Sum(torch.autograd.Function):  # type: ignore[misc]
    """The sum over the ranks; going back, as it is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:  # noqa: ARG004
        return _summed(x, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return grad, None


class _Join(torch.autograd.Function):  # type: ignore[misc]
    """All tokens from each rank's; going back, the sum over the ranks of each one's tokens."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        total = sum(group.gather(x.shape[1]))
        return _by_rows(partial(group.join, num_rows=total), x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _by_rows(ctx.group.sum_rows, grad), None


class _SumRows(torch.autograd.Function):  # type: ignore[misc]
    """Of the sum over the ranks this one's tokens; going back, all tokens from each rank's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        ctx.group, ctx.total = group, x.shape[1]
        return _by_rows(group.sum_rows, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _by_rows(partial(ctx.group.join, num_rows=ctx.total), grad), None


class _Cut(torch.autograd.Function):  # type: ignore[misc]
    """This rank's tokens; going back, all tokens from each rank's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        ctx.group, ctx.total = group, x.shape[1]
        return _mine(x, group).clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _by_rows(partial(ctx.group.join, num_rows=ctx.total), grad), None


class _JoinCopies(torch.autograd.Function):  # type: ignore[misc]
    """All tokens from each rank's; going back, where all ranks have the same, this one's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        total = sum(group.gather(x.shape[1]))
        return _by_rows(partial(group.join, num_rows=total), x).clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _mine(grad, ctx.group), None
