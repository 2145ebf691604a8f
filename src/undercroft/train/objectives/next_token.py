"""Next-token prediction on packed documents: what a model learns a language from.

A row holds pieces of several documents. Each piece attends to itself alone and positions begin
again with it, so that loss and gradient are those of the pieces read one by one (a test holds
that).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undercroft.train.models.attention import side_by_side
from undercroft.train.objectives.branches import answer_losses
from undercroft.train.objectives.objective import Batch, Terms
from undercroft.train.samples.packing import Row, Tokens


class NextToken:
    """Cross-entropy of every token of every document, its end included."""

    is_one_pass = True

    def collate(self, rows: Sequence[Row], /) -> Batch:
        """The pieces of all ``rows`` side by side; nothing is padded."""
        spans = [span for row in rows for span in row]
        lengths = [len(span.tokens) - 1 for span in spans]
        tensors = {
            "tokens_t": _joined([span.tokens[:-1] for span in spans]),
            "positions_t": torch.cat([torch.arange(length) for length in lengths]),
            "labels_a": _joined([span.tokens[1:] for span in spans]),
            "nodes_n3": torch.tensor(side_by_side(lengths)),
        }
        ids = tuple(dict.fromkeys(span.document for span in spans))
        return Batch(tensors, sum(lengths), sum(lengths), len(rows), ids)

    def terms(self, model: Any, batch: Batch) -> Terms:
        losses_a, is_right_a = answer_losses(model, batch)
        right = float(is_right_a.sum())
        return Terms(losses_a.sum(), batch.count, {"token_accuracy": (right, batch.count)})


def _joined(pieces: Sequence[Tokens]) -> Tensor:
    return torch.from_numpy(np.concatenate(pieces).astype(np.int64))
