"""Attention by document: a sequence of many texts, each of which sees what is its own.

A sequence is cut into nodes. A node sees itself and back, and the nodes it goes on from: documents
side by side see nothing of each other, answers to one prompt see the prompt. Each node is computed
by itself, so that no mask of T x T numbers is made and nothing is computed to be masked out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

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

    def mask(self, block: _Block, groups: int, dtype: torch.dtype) -> Tensor:
        """What is added to the scores of a block: 0 where a query may look, the least elsewhere.

        Rows are the block's queries, ``groups`` times (one for each head that shares keys).
        """
        seen = sum(end - start for start, end in block.before)
        first, last = block.queries
        key = (seen, first, last, groups, dtype)
        if key not in self._masks:
            is_hidden_qk = torch.ones(last - first, seen + last, dtype=torch.bool)
            is_hidden_qk = is_hidden_qk.triu_(seen + first + 1)
            mask_qk = torch.zeros(is_hidden_qk.shape, dtype=dtype)
            mask_qk.masked_fill_(is_hidden_qk, torch.finfo(dtype).min)
            self._masks[key] = mask_qk.repeat(groups, 1)
        return self._masks[key]


def side_by_side(lengths: Sequence[int]) -> list[tuple[int, int, int]]:
    """The nodes of documents of these lengths that see nothing of each other."""
    ends = list(accumulate(lengths))
    return [(end - size, end, NO_PARENT) for size, end in zip(lengths, ends, strict=True)]


def attend(q_htd: Tensor, k_gtd: Tensor, v_gtd: Tensor, scale: float, layout: Layout) -> Tensor:
    """What each token takes over from what it sees (T, H, D).

    H heads of queries share the G heads of keys and values, H / G each.
    """
    qkv = (q_htd, k_gtd, v_gtd)
    parts = [_attend_block(qkv, scale, layout, block) for block in layout.blocks]
    return _in_order(parts, layout)


def _in_order(parts: Sequence[Tensor], layout: Layout) -> Tensor:
    """The outputs (copies, queries, H, D) of all blocks in the order of the tokens."""
    found: list[Tensor] = []
    of_run: list[Tensor] = []
    for block, part in zip(layout.blocks, parts, strict=True):
        of_run.append(part)
        if block.queries[1] == block.length:
            whole = of_run[0] if len(of_run) == 1 else torch.cat(of_run, 1)
            found.append(whole.flatten(0, 1))
            of_run = []
    return found[0] if len(found) == 1 else torch.cat(found)


def _attend_block(
    qkv: tuple[Tensor, Tensor, Tensor], scale: float, layout: Layout, block: _Block
) -> Tensor:
    """The outputs of one block (copies, queries, H, D)."""
    q_htd, k_gtd, v_gtd = qkv
    heads, _, width = q_htd.shape
    shared = k_gtd.shape[0]
    groups = heads // shared
    first, last = block.queries
    count = last - first
    q_hcqd = _of_nodes(q_htd, block, first, last)
    q_sqd = q_hcqd.unflatten(0, (shared, groups)).transpose(1, 2)
    q_sqd = q_sqd.reshape(shared * block.copies, groups * count, width)
    k_skd, v_skd = (_seen(each_gtd, block) for each_gtd in (k_gtd, v_gtd))
    if k_skd.shape[1] <= PLAIN_KEYS:
        mask_qk = layout.mask(block, groups, q_htd.dtype)
        scores_sqk = torch.baddbmm(mask_qk, q_sqd, k_skd.transpose(1, 2), alpha=scale)
        out_sqd = torch.bmm(scores_sqk.softmax(-1), v_skd)
    else:
        mask_qk = layout.mask(block, 1, q_htd.dtype)
        out_sqd = functional.scaled_dot_product_attention(
            q_sqd.unflatten(1, (groups, count)),
            k_skd[:, None].expand(-1, groups, -1, -1),
            v_skd[:, None].expand(-1, groups, -1, -1),
            attn_mask=mask_qk,
            scale=scale,
        ).flatten(1, 2)
    out_gchqd = out_sqd.view(shared, block.copies, groups, count, width)
    return out_gchqd.permute(1, 3, 0, 2, 4).reshape(block.copies, count, heads, width)


def _of_nodes(x_htd: Tensor, block: _Block, first: int, last: int) -> Tensor:
    """Tokens ``first`` to ``last`` of each of a block's nodes (H, copies, tokens, D)."""
    whole = x_htd[:, block.first : block.first + block.copies * block.length]
    return whole.unflatten(1, (block.copies, block.length))[:, :, first:last]


def _seen(x_gtd: Tensor, block: _Block) -> Tensor:
    """The keys or values that a block sees, its own last (G * copies, keys, D)."""
    own = _of_nodes(x_gtd, block, 0, block.queries[1])
    if not block.before:
        return own.flatten(0, 1)
    before = [
        x_gtd[:, None, start:end].expand(-1, block.copies, -1, -1) for start, end in block.before
    ]
    return torch.cat([*before, own], 2).flatten(0, 1)


@contextmanager
def by_document(model: Any) -> Iterator[None]:
    """Within the block the forward pass of ``model`` takes ``layout=`` and attends by it."""
    from transformers import AttentionInterface

    AttentionInterface.register(_NAME, _for_transformers)
    before = model.config._attn_implementation
    model.config._attn_implementation = _NAME
    try:
        yield
    finally:
        model.config._attn_implementation = before


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
