"""Several prompts with their answers as one sequence: what they begin with alike is read once.

The common prefix comes first, then each prompt's rest and answer as a branch that sees the prefix
and itself but not the other branches. What a model computes for a branch is what it computes for
its prompt and answer alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from undercroft.train.attention import additive
from undercroft.train.objective import Batch

Branch = tuple[list[int], list[int]]  # token ids of prompt and answer


def pack(branches: Sequence[Branch], ids: Sequence[str]) -> Batch:
    """Branches behind their common prefix as one sequence of T tokens with A targets.

    ``branch_a`` is the number of each target's branch, from 0.
    """
    shared = _common_prefix([prompt for prompt, _ in branches])
    tokens = list(branches[0][0][:shared])
    positions = list(range(shared))
    owner = [0] * shared  # 0 is the prefix, then the number of the branch
    read_at: list[int] = []
    labels: list[int] = []
    branch_of: list[int] = []
    for number, (prompt, answer) in enumerate(branches, start=1):
        branch = prompt[shared:] + answer
        first = len(tokens) + len(prompt) - shared - 1
        read_at += range(first, first + len(answer))
        labels += answer
        branch_of += [number - 1] * len(answer)
        tokens += branch
        positions += range(shared, shared + len(branch))
        owner += [number] * len(branch)
    tensors = {
        "tokens_1t": torch.tensor([tokens]),
        "positions_1t": torch.tensor([positions]),
        "read_at_a": torch.tensor(read_at),
        "labels_a": torch.tensor(labels),
        "branch_a": torch.tensor(branch_of),
    }
    if len(branches) > 1:
        tensors["mask_11tt"] = _branch_mask(torch.tensor(owner))
    return Batch(tensors, len(labels), len(tokens), len(branches), tuple(ids))


def hidden_states(model: Any, batch: Batch) -> Tensor:
    """The last layer's output for each of the T tokens of ``batch``."""
    tensors = batch.tensors
    hidden_1td: Tensor = model.model(
        input_ids=tensors["tokens_1t"],
        position_ids=tensors["positions_1t"],
        attention_mask=additive(tensors.get("mask_11tt"), model.dtype),
        use_cache=False,
    ).last_hidden_state
    return hidden_1td[0]


def answer_logits(model: Any, batch: Batch) -> Tensor:
    """Logits in float32 where an answer's token is predicted, and nowhere else."""
    hidden_td = hidden_states(model, batch)
    logits_av: Tensor = model.lm_head(hidden_td[batch.tensors["read_at_a"]]).float()
    return logits_av


def _branch_mask(owner_t: Tensor) -> Tensor:
    """True where a token may look: back, at the prefix or at its own branch."""
    size = len(owner_t)
    causal = torch.ones(size, size, dtype=torch.bool).tril()
    own = owner_t[:, None] == owner_t[None, :]
    return (causal & (own | (owner_t == 0)[None, :]))[None, None]


def _common_prefix(prompts: Sequence[list[int]]) -> int:
    """Tokens that all prompts begin with; at least one of each prompt is left to its branch."""
    longest = min(map(len, prompts)) - 1
    first = prompts[0]
    return next(
        (at for at in range(longest) if any(prompt[at] != first[at] for prompt in prompts)),
        longest,
    )
