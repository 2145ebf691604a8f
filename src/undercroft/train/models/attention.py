"""Attention by document: a sequence of many texts, each of which sees what is its own.

A sequence is cut into nodes. A node sees itself and back, and the nodes it goes on from: documents
side by side see nothing of each other, answers to one prompt see the prompt. Each node is computed
by itself, so that no mask of T x T numbers is made and nothing is computed to be masked out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from undercroft.errors import BadInput
from undercroft.train.models.limits import PLAIN_KEYS

NO_PARENT: Final = -1
_BLOCK: Final = 256  # queries at once: keys behind a block are not computed
_NAME: Final = "undercroft_by_document"

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Block:
    """Queries of ``copies`` nodes of one length side by side, and where they look.

    ``before`` are ranges that all of them see whole; ``own`` keys of each node are seen up to the
    query itself.
    """

    first: int  # of the first node
    length: int  # of each node
    copies: int
    queries: Range  # in each node
    before: tuple[Range, ...]


@dataclass(slots=True)
class Layout:
    """The nodes of one sequence: (first token, token after the last, number of the parent).

    A parent stands before its children; nodes lie side by side and fill the sequence.
    """

    nodes: Sequence[tuple[int, int, int]]
    blocks: list[_Block] = field(init=False)
    _masks: dict[tuple[Any, ...], Tensor] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.blocks = [
            _Block(start, end - start, copies, (at, min(at + _BLOCK, end - start)), before)
            for start, end, copies, before in self._runs()
            for at in range(0, end - start, _BLOCK)
        ]

    @classmethod
    def of(cls, nodes_n3: Tensor) -> Layout:
        return cls([(start, end, parent) for start, end, parent in nodes_n3.tolist()])

    def _runs(self) -> Iterator[tuple[int, int, int, tuple[Range, ...]]]:
        """Neighbours of one length that go on from the same node count as copies of one."""
        at = 0
        while at < len(self.nodes):
            start, end, parent = self.nodes[at]
            copies = 1
            while at + copies < len(self.nodes):
                first, last, other = self.nodes[at + copies]
                if other != parent or last - first != end - start:
                    break
                copies += 1
            yield start, end, copies, tuple(self._above(parent))
            at += copies

    @property
    def longest(self) -> int:
        """Tokens that the last token of some node sees, itself among them."""
        return max(
            block.queries[1] + sum(end - start for start, end in block.before)
            for block in self.blocks
        )

    def _above(self, node: int) -> Iterator[Range]:
        while node != NO_PARENT:
            start, end, node = self.nodes[node]
            yield start, end

    def mask(self, block: _Block, groups: int, like: Tensor) -> Tensor:
        """What is added to the scores of a block: 0 where a query may look, the least elsewhere.

        It is of the type and on the device of ``like``. Rows are the block's queries, each
        ``groups`` times (once for each head that shares keys).
        """
        seen = sum(end - start for start, end in block.before)
        first, last = block.queries
        key = (seen, first, last, groups, like.dtype, like.device)
        if key not in self._masks:
            is_hidden_qk = like.new_ones(last - first, seen + last, dtype=torch.bool)
            is_hidden_qk = is_hidden_qk.triu_(seen + first + 1)
            mask_qk = like.new_zeros(is_hidden_qk.shape)
            mask_qk.masked_fill_(is_hidden_qk, torch.finfo(like.dtype).min)
            self._masks[key] = mask_qk.repeat_interleave(groups, 0)
        return self._masks[key]


def side_by_side(lengths: Sequence[int]) -> list[tuple[int, int, int]]:
    """The nodes of documents of these lengths that see nothing of each other."""
    ends = list(accumulate(lengths))
    return [(end - size, end, NO_PARENT) for size, end in zip(lengths, ends, strict=True)]


def attend(q_htd: Tensor, k_gtd: Tensor, v_gtd: Tensor, scale: float, layout: Layout) -> Tensor:
    """What each token takes over from what it sees (T, H, D).

    H heads of queries share the G heads of keys and values, H / G each. Nothing is copied where
    queries lie in memory as `grouped` puts them, and keys and values head by head.
    """
    out_htd: Tensor = _Attend.apply(q_htd, k_gtd, v_gtd, (scale, layout))
    return out_htd.transpose(0, 1)


def grouped(x_htd: Tensor, shared: int) -> Tensor:
    """The heads that share keys side by side, token by token (G, T * H / G, D), in one piece."""
    return x_htd.unflatten(0, (shared, -1)).transpose(1, 2).flatten(1, 2).contiguous()


def ungrouped(x_gnd: Tensor, heads: int) -> Tensor:
    """What `grouped` was given (H, T, D), in the same memory if it can be."""
    groups = heads // x_gnd.shape[0]
    return x_gnd.unflatten(1, (-1, groups)).transpose(1, 2).flatten(0, 1)


class _Attend(torch.autograd.Function):  # type: ignore[misc]
    """Block by block, with a backward pass that adds each part of a gradient to where it belongs.

    Probabilities over at most ``PLAIN_KEYS`` keys are kept for it; those over more are made again.
    """

    @staticmethod
    def forward(
        ctx: Any, q_htd: Tensor, k_gtd: Tensor, v_gtd: Tensor, how: tuple[float, Layout]
    ) -> Tensor:
        scale, layout = how
        heads, shared = q_htd.shape[0], k_gtd.shape[0]
        q_gnd, k_gtd, v_gtd = grouped(q_htd, shared), k_gtd.contiguous(), v_gtd.contiguous()
        out_gnd = torch.empty_like(q_gnd)
        kept: list[Tensor] = []
        for block in layout.blocks:
            probs_sqk = _probs(q_gnd, k_gtd, scale, layout, block)
            _asking(out_gnd, block, heads // shared).copy_(
                torch.bmm(probs_sqk, _seen(v_gtd, block)).unflatten(0, (shared, -1))
            )
            if probs_sqk.shape[2] <= PLAIN_KEYS:
                kept.append(probs_sqk)
        ctx.save_for_backward(q_gnd, k_gtd, v_gtd, *kept)
        ctx.scale, ctx.layout, ctx.heads = scale, layout, heads
        return ungrouped(out_gnd, heads)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad_htd: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q_gnd, k_gtd, v_gtd, *kept = ctx.saved_tensors
        shared, scale = k_gtd.shape[0], ctx.scale
        groups = ctx.heads // shared
        grad_gnd = grouped(grad_htd, shared)
        to_q, to_k, to_v = torch.empty_like(q_gnd), torch.zeros_like(k_gtd), torch.zeros_like(v_gtd)
        of_blocks = iter(kept)
        for block in ctx.layout.blocks:
            k_skd, v_skd = _seen(k_gtd, block), _seen(v_gtd, block)
            is_kept = k_skd.shape[1] <= PLAIN_KEYS
            probs_sqk = (
                next(of_blocks) if is_kept else _probs(q_gnd, k_gtd, scale, ctx.layout, block)
            )
            q_sqd, grad_sqd = (_asking(x, block, groups).flatten(0, 1) for x in (q_gnd, grad_gnd))
            _add(to_v, block, torch.bmm(probs_sqk.transpose(1, 2), grad_sqd))
            error_sqk = torch.ops.aten._softmax_backward_data(
                torch.bmm(grad_sqd, v_skd.transpose(1, 2)), probs_sqk, -1, probs_sqk.dtype
            )
            _asking(to_q, block, groups).copy_(
                torch.bmm(error_sqk, k_skd).unflatten(0, (shared, -1))
            )
            _add(to_k, block, torch.bmm(error_sqk.transpose(1, 2), q_sqd))
        return ungrouped(to_q.mul_(scale), ctx.heads), to_k.mul_(scale), to_v, None


def _probs(q_gnd: Tensor, k_gtd: Tensor, scale: float, layout: Layout, block: _Block) -> Tensor:
    """How much each query of a block takes of each key (G * copies, queries * H / G, keys)."""
    groups = q_gnd.shape[1] // k_gtd.shape[1]
    q_sqd, k_skd = _asking(q_gnd, block, groups).flatten(0, 1), _seen(k_gtd, block)
    mask_qk = layout.mask(block, groups, q_gnd)
    return torch.baddbmm(mask_qk, q_sqd, k_skd.transpose(1, 2), alpha=scale).softmax(-1)


def _asking(x_gnd: Tensor, block: _Block, groups: int) -> Tensor:
    """The rows of a block's queries (G, copies, queries * H / G, D), in the same memory."""
    first, last = (groups * at for at in block.queries)
    return _of_nodes(x_gnd, block, groups)[:, :, first:last]


def _of_nodes(x_gnd: Tensor, block: _Block, groups: int = 1) -> Tensor:
    """The rows of a block's nodes (G, copies, tokens * groups, D), in the same memory."""
    first, rows = groups * block.first, groups * block.length
    return x_gnd[:, first : first + block.copies * rows].unflatten(1, (block.copies, rows))


def _seen(x_gtd: Tensor, block: _Block) -> Tensor:
    """The keys or values that a block sees, its own last (G * copies, keys, D)."""
    own = _of_nodes(x_gtd, block)[:, :, : block.queries[1]]
    if not block.before:
        return own.flatten(0, 1)
    before = [
        x_gtd[:, None, start:end].expand(-1, block.copies, -1, -1) for start, end in block.before
    ]
    return torch.cat([*before, own], 2).flatten(0, 1)


def _add(grad_gtd: Tensor, block: _Block, part_skd: Tensor) -> None:
    """Add the gradient of what a block `_seen` to that of where it came from."""
    part_gckd = part_skd.unflatten(0, (grad_gtd.shape[0], -1))
    at = 0
    for start, end in block.before:
        grad_gtd[:, start:end] += part_gckd[:, :, at : at + end - start].sum(1)
        at += end - start
    _of_nodes(grad_gtd, block)[:, :, : block.queries[1]] += part_gckd[:, :, at:]


@contextmanager
def by_document(model: Any) -> Iterator[None]:
    """Within the block the forward pass of ``model`` takes ``layout=`` and attends by it."""
    from transformers import AttentionInterface

    AttentionInterface.register(_NAME, _function())
    before = model.config._attn_implementation
    model.config._attn_implementation = _NAME
    try:
        yield
    finally:
        model.config._attn_implementation = before


@cache
def out_of_graphs() -> Any:
    """Attention as a compiled block calls it: by Python, since where documents lie changes with
    every sample. From the first call on it is what `by_document` puts in."""
    return torch.compiler.disable(_for_transformers)


def _function() -> Any:
    return out_of_graphs() if out_of_graphs.cache_info().currsize else _for_transformers


def _for_transformers(
    module: Any,  # noqa: ARG001
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001
    *,
    scaling: float | None = None,
    layout: Layout,
    softcap: float | None = None,
    sliding_window: int | None = None,
    **others: Any,  # noqa: ARG001
) -> tuple[Tensor, None]:
    """`attend` as the library calls it: one sequence of (1, heads, T, D).

    Raises `BadInput` for a model whose attention is of another kind.
    """
    if softcap or (sliding_window and sliding_window < layout.longest):
        raise BadInput(
            "This model's attention is of a kind that cannot be trained here.",
            f"Its scores are capped at {softcap}."
            if softcap
            else f"A token sees {sliding_window:,} others, and there are {layout.longest:,}.",
            "Take another base." if softcap else "Lower max_tokens, or take another base.",
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return attend(query[0], key[0], value[0], scale, layout)[None], None
