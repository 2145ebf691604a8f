"""Weights spread over the ranks of a team: each holds some rows of every block (FSDP2).

Torch's ``fully_shard`` brings a block's weights together while it computes, and sums its gradients
in float32 to where they belong. Only blocks are spread (the children of a ``ModuleList``): what
lies outside of them, such as embeddings that are the head as well, is used by objectives directly,
and stays whole on every rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from undercroft.errors import BadConfig
from undercroft.train.parallel.team import Team


def shard(model: nn.Module, team: Team) -> None:
    """Spread the blocks of ``model`` over ``team``, from the weights that rank 0 has.

    Raises `BadConfig` for a model without blocks. Gradients of the spread weights are sums over the
    ranks, not means, as the loop's are.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    found = list(blocks(model))
    if not found:
        raise BadConfig(
            "The model cannot be spread over processes.",
            "It has no list of blocks; what would be spread are its children.",
            "Train it in whole copies: leave sharding out.",
        )
    team.copy_first([weight.detach() for weight in model.parameters()])
    mesh = init_device_mesh("cpu", (team.size,))
    for block in found:
        spread: Any = fully_shard(
            block, mesh=mesh, mp_policy=MixedPrecisionPolicy(reduce_dtype=torch.float32)
        )
        spread.set_gradient_divide_factor(1.0)  # which gloo takes only with the next line
        spread.set_force_sum_reduction_for_comms(True)


def blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The outermost children of module lists."""
    for child in model.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from blocks(child)


def is_spread(weight: Tensor) -> bool:
    """Whether this rank holds only rows of ``weight``: whether it is a DTensor."""
    return hasattr(weight, "device_mesh")


def own(weight: Any) -> Tensor:
    """What this rank holds of ``weight``, in the same memory."""
    held: Tensor = weight.to_local() if is_spread(weight) else weight
    return held


def rows(num_rows: int, team: Team) -> slice:
    """Which of the rows of a spread weight this rank holds: the last ranks may have none."""
    each = -(-num_rows // team.size)
    first = min(team.rank * each, num_rows)
    return slice(first, min(first + each, num_rows))
