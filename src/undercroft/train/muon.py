"""Muon: matrices are stepped by the nearest orthogonal matrix to their momentum.

A gradient's large directions are few, and AdamW follows them; made orthogonal, all directions of a
matrix are learnt alike (Jordan et al. 2024, kellerjordan.github.io/posts/muon). Here it steps the
matrices of a model's blocks, as torch's own `torch.optim.Muon`, each update scaled to the size that
one of AdamW's usually has, so that both take the same learning rate and decay (Liu et al. 2025,
"Muon is Scalable for LLM Training", section 2.2). Embeddings, heads and norms stay with AdamW.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from undercroft.errors import BadConfig
from undercroft.train.parallel.team import Team

MOMENTUM: Final = 0.95


def wants_muon(optimizer: str, team: Team) -> bool:
    """Whether ``optimizer`` ("adamw", "muon", or "" for what is better) asks for Muon in ``team``.

    It needs whole matrices. Raises `BadConfig` where they are spread.
    """
    is_whole = team.shard.size == 1 and team.tensor.size == 1
    if optimizer == "muon" and not is_whole:
        raise BadConfig(
            "Muon cannot train a model whose matrices are spread over processes.",
            "It makes each matrix orthogonal, for which it must be whole.",
            "Set optimizer to adamw, or parallel.shard and parallel.tensor to 1.",
        )
    return optimizer == "muon" or (not optimizer and is_whole)


def is_matrix_of_a_block(name: str, weight: Tensor) -> bool:
    """Whether a weight is what Muon is for: a matrix in a numbered part of the model."""
    return weight.ndim == 2 and any(part.isdecimal() for part in name.split("."))


def muon(masters: Sequence[nn.Parameter], weight_decay: float) -> torch.optim.Optimizer:
    """Steps ``masters`` at the rate that is set in its groups before each step."""
    return torch.optim.Muon(
        masters, weight_decay=weight_decay, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw"
    )
