"""Who may look at whom, in the form that attention takes it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def additive(mask_b1tt: Tensor | None, dtype: Any) -> Tensor | None:
    """What attention adds to its scores: nothing where a token may look, the least elsewhere.

    None stays None: every token looks back as far as there is.
    """
    if mask_b1tt is None:
        return None
    hidden = torch.zeros(mask_b1tt.shape, dtype=dtype)
    return hidden.masked_fill_(~mask_b1tt, torch.finfo(dtype).min)


def within_owner(owner_bt: Tensor) -> Tensor:
    """True where a token may look: at itself and back, at tokens of its own owner."""
    size = owner_bt.shape[-1]
    causal_tt = torch.ones(size, size, dtype=torch.bool).tril()
    same_btt = owner_bt[:, :, None] == owner_bt[:, None, :]
    return (causal_tt & same_btt)[:, None]
