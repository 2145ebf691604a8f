"""Several prompts with their answers as one sequence: what they begin with alike is read once.

The sequence is a tree. Where some prompts agree for a while, their tokens are one node, and what
differs goes on from it; the last nodes are each prompt's rest and answer. A node sees those above
it and itself (`attention`), so that what a model computes for an answer is what it computes for
its prompt and answer alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from undercroft.train.models.attention import NO_PARENT, Layout, by_document
from undercroft.train.objectives.objective import Batch
from undercroft.train.objectives.token_loss import token_losses

Branch = tuple[list[int], list[int]]  # token ids of prompt and answer

#: Fewer tokens in common are read again: a node costs some calls in every layer.
_LEAST_SHARED: Final = 16


@dataclass
class _Tree:
    """Nodes as they are laid down, and where each branch's answer is predicted."""

    tokens: list[int] = field(default_factory=list[int])
    positions: list[int] = field(default_factory=list[int])
    nodes: list[tuple[int, int, int]] = field(default_factory=list[tuple[int, int, int]])
    read_at: dict[int, range] = field(default_factory=dict[int, range])

    def add(self, tokens: Sequence[int], position: int, parent: int) -> int:
        """A node of ``tokens`` whose first is the one numbered ``position``; gives its number."""
        start = len(self.tokens)
        self.tokens += tokens
        self.positions += range(position, position + len(tokens))
        self.nodes.append((start, len(self.tokens), parent))
        return len(self.nodes) - 1

    def grow(self, branches: Sequence[Branch], chosen: Sequence[int], depth: int, up: int) -> None:
        """Lay down the branches with the numbers ``chosen``, which agree up to ``depth``."""
        for group in _alike(branches, chosen, depth):
            if len(group) > 1:
                shared = _common(branches[number][0] for number in group)
                node = self.add(branches[group[0]][0][depth:shared], depth, up)
                self.grow(branches, group, shared, node)
                continue
            (number,) = group
            prompt, answer = branches[number]
            self.add([*prompt[depth:], *answer], depth, up)
            first = len(self.tokens) - len(answer) - 1
            self.read_at[number] = range(first, first + len(answer))


def pack(branches: Sequence[Branch], ids: Sequence[str]) -> Batch:
    """Branches as one sequence of T tokens with A targets, those of the first branch first.

    ``branch_a`` is the number of each target's branch, from 0; ``nodes_n3`` is the tree, as
    `Layout` takes it.
    """
    tree = _Tree()
    tree.grow(branches, range(len(branches)), 0, NO_PARENT)
    read_at = [at for number in range(len(branches)) for at in tree.read_at[number]]
    labels = [token for _, answer in branches for token in answer]
    lengths = torch.tensor([len(answer) for _, answer in branches])
    tensors = {
        "tokens_t": torch.tensor(tree.tokens),
        "positions_t": torch.tensor(tree.positions),
        "nodes_n3": torch.tensor(tree.nodes),
        "read_at_a": torch.tensor(read_at),
        "labels_a": torch.tensor(labels),
        "branch_a": torch.arange(len(branches)).repeat_interleave(lengths),
    }
    return Batch(tensors, len(labels), len(tree.tokens), len(branches), tuple(ids))


def hidden_states(model: Any, batch: Batch) -> Tensor:
    """The last layer's output for each of the T tokens of ``batch`` (T, D)."""
    tensors = batch.tensors
    with by_document(model):
        hidden_1td: Tensor = model.model(
            input_ids=tensors["tokens_t"][None],
            position_ids=tensors["positions_t"][None],
            use_cache=False,
            layout=Layout.of(tensors["nodes_n3"]),
        ).last_hidden_state
    return hidden_1td[0]


def target_states(model: Any, batch: Batch) -> Tensor:
    """`hidden_states` where a target is predicted (A, D)."""
    hidden_td = hidden_states(model, batch)
    if "read_at_a" not in batch.tensors:
        return hidden_td
    return hidden_td[batch.tensors["read_at_a"]]


def answer_losses(model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """As `token_losses`, of all targets of ``batch``."""
    return token_losses(model, target_states(model, batch), batch.tensors["labels_a"])


def answer_logits(model: Any, batch: Batch) -> Tensor:
    """Logits in float32 where a target is predicted, and nowhere else (A, V)."""
    logits_av: Tensor = model.lm_head(target_states(model, batch)).float()
    return logits_av


def _alike(branches: Sequence[Branch], chosen: Sequence[int], depth: int) -> Iterator[list[int]]:
    """Branches whose prompts agree in the next tokens too, and those that agree with none.

    At least one token of each prompt is left to its branch.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for number in chosen:
        ahead = tuple(branches[number][0][depth:-1][:_LEAST_SHARED])
        groups.setdefault(ahead if len(ahead) == _LEAST_SHARED else (-1, number), []).append(number)
    yield from groups.values()


def _common(prompts: Iterable[list[int]]) -> int:
    """Tokens that all prompts begin with, the last of each not among them."""
    first, *others = (prompt[:-1] for prompt in prompts)
    longest = min(map(len, (first, *others)))
    return next(
        (at for at in range(longest) if any(each[at] != first[at] for each in others)), longest
    )
