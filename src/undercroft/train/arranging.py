"""A model laid out over the processes of a plan, in the one order in which that can be done.

Cut into stages, matrices cut into shares, blocks made to save memory, compiled, spread: each step
takes what the one before left.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from undercroft.errors import BadConfig
from undercroft.settings import ParallelSettings
from undercroft.train.gauges import remember
from undercroft.train.models import absent
from undercroft.train.models.attention import out_of_graphs
from undercroft.train.parallel import sharding, stages, tensor
from undercroft.train.parallel.pipeline import spans
from undercroft.train.parallel.placement import Arrangement, arrange, own
from undercroft.train.parallel.team import Team


def spread(model: Any, team: Team, settings: ParallelSettings) -> Arrangement:
    """Lay ``model`` out over ``team`` as its plan says, from the weights that rank 0 has.

    Every rank gives the whole model, or one whose weights are `absent`, of which it is then given
    what it holds. Weights keep their names; what a rank does not hold is gone. Raises `BadConfig`
    for a model that cannot be laid out so.
    """
    plan = team.plan
    _check(model, team, settings)
    _place(model, team.device)
    remember(model)
    team.copy_first([each.detach() for each in model.parameters() if not each.is_meta])
    chunks: tuple[stages.Chunk, ...] = ()
    tied: set[str] = set()
    if plan.pipeline > 1:
        many = settings.chunks if settings.schedule == "interleaved" else 1
        chunks, tied = stages.cut(model, team.pipeline.rank, plan.pipeline, many)
    blocks = dict(sharding.blocks(model))
    splits: dict[str, int] = {}
    partial_ones: set[str] = set()
    if plan.tensor > 1:
        splits, partial_ones = tensor.split(blocks, team.tensor, sequence=settings.sequence)
        if settings.sequence:
            for span in spans(chunks, model).values():
                tensor.cut_stream(span[0], span[-1], team.tensor)
    for block in blocks.values():
        if settings.activation_checkpointing:
            recompute(block)
        if settings.compile:
            compiled(block, settings.compile)
    if plan.shard > 1:
        sharding.shard(blocks.values(), team)
    found = Arrangement(
        team,
        splits,
        frozenset(partial_ones),
        frozenset(tied),
        chunks,
        settings.schedule,
        settings.activation_checkpointing,
    )
    arrange(model, found)
    _bring(model, found, list(blocks.values()) if plan.shard > 1 else [])
    return found


def _place(model: Any, device: torch.device) -> None:
    """Move to ``device`` what has any numbers."""
    for module in model.modules():
        for each in (*module._parameters.values(), *module._buffers.values()):
            if each is not None and not each.is_meta:
                each.data = each.data.to(device)


def _bring(model: Any, layout: Arrangement, spread_blocks: list[Any]) -> None:
    """Fill what is absent of ``model`` with what lies there in the whole, from its source."""
    source = absent.source_of(model)
    if source is None:
        return
    empty = set(absent.settle(model, layout.team.device, spread_blocks))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in empty:
                held = own(weight)
                at = layout.part(name, weight).at
                held.copy_(source.part(absent.named(name), at, held.shape))


def recompute(block: Any) -> None:
    """Keep only what goes into ``block``; its backward pass computes the rest again.

    What the forward pass found around it (`attention.by_document`) the backward pass must find too.
    """
    from torch.utils.checkpoint import checkpoint

    if hasattr(block, "gradient_checkpointing"):  # a block of transformers
        block._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
        block.gradient_checkpointing = True
    else:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def compiled(block: Any, backend: str) -> None:
    """Have torch make one function of what ``block`` computes around attention; what hangs on the
    block is called as ever."""
    out_of_graphs()
    block.forward = torch.compile(block.forward, backend=backend, dynamic=True)


def _check(model: Any, team: Team, settings: ParallelSettings) -> None:
    plan = team.plan
    if plan.shard > 1 and not dict(sharding.blocks(model)):
        raise BadConfig(
            "The model cannot be spread over processes.",
            "It has no list of blocks; what would be spread are its children.",
            "Train it in whole copies: leave sharding out.",
        )
    if plan.tensor > 1:
        tensor.check(model.config, plan.tensor)
    if settings.schedule == "zero_bubble" and plan.pipeline > 1 and plan.shard > 1:
        raise BadConfig(
            "The zero_bubble schedule cannot be had with weights that are spread.",
            "It leaves gradients of weights for later, when these are no longer together.",
            "Set parallel.schedule to 1f1b or interleaved, or parallel.shard to 1.",
        )
