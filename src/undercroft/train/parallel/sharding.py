"""Weights spread over the ranks of a team: each holds some rows of every block (FSDP2).

Torch's ``fully_shard`` brings a block's weights together while it computes, and sums its gradients
in float32 to where they belong; with several copies, over these as well (HSDP). Only blocks are
spread: what lies outside of them, such as embeddings that are the head as well, is used by
objectives directly, and stays whole on every rank (its masters and moments do not: `optimizer`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from undercroft.train.parallel.team import Team


def shard(blocks: Iterable[nn.Module], team: Team) -> None:
    """Spread ``blocks``. Gradients of their weights are sums over the ranks, not means, as the
    loop's are."""
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = team.mesh() if team.plan.replicate > 1 else team.mesh()["shard"]
    for block in blocks:
        spread: Any = fully_shard(
            block,
            mesh=mesh,
            mp_policy=MixedPrecisionPolicy(reduce_dtype=torch.float32),
            reshard_after_forward=True,  # which is not the default, each block being a root
        )
        spread.set_gradient_divide_factor(1.0)  # which gloo takes only with the next line
        spread.set_force_sum_reduction_for_comms(True)


def blocks(model: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The outermost children of module lists, by their names."""
    for own, child in model.named_children():
        path = f"{name}.{own}" if name else own
        if isinstance(child, nn.ModuleList):
            yield from ((f"{path}.{key}", each) for key, each in child.named_children())
        else:
            yield from blocks(child, path)
