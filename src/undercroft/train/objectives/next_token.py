"""Next-token prediction on packed documents: what a model learns a language from.

A row holds pieces of several documents. Attention is block-diagonal and positions begin again with
each piece, so that loss and gradient are those of the pieces read one by one (a test holds that).
Rows that hold one piece each need no mask, and take the quicker road.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from undercroft.train.attention import additive, within_owner
from undercroft.train.objective import Batch, Terms
from undercroft.train.packing import Row


class NextToken:
    """Cross-entropy of every token of every document, its end included; padding is not scored."""

    def collate(self, rows: Sequence[Row], /) -> Batch:
        """``rows`` side by side, filled up to the longest of them."""
        longest = max(sum(len(span.tokens) - 1 for span in row) for row in rows)
        tokens_bt = np.zeros((len(rows), longest), np.int64)
        labels_bt = np.zeros((len(rows), longest), np.int64)
        positions_bt = np.tile(np.arange(longest), (len(rows), 1))
        owner_bt = np.zeros((len(rows), longest), np.int64)  # 0 is padding, then the piece
        for number, row in enumerate(rows):
            done = 0
            for piece, span in enumerate(row, start=1):
                end = done + len(span.tokens) - 1
                tokens_bt[number, done:end] = span.tokens[:-1]
                labels_bt[number, done:end] = span.tokens[1:]
                positions_bt[number, done:end] = np.arange(end - done)
                owner_bt[number, done:end] = piece
                done = end
        is_read = owner_bt > 0
        tensors = {
            "tokens_bt": torch.from_numpy(tokens_bt),
            "positions_bt": torch.from_numpy(positions_bt),
            "labels_a": torch.from_numpy(labels_bt[is_read]),
        }
        if not is_read.all():
            tensors["read_at_a"] = torch.from_numpy(np.flatnonzero(is_read))
        if any(len(row) > 1 for row in rows):  # padding is behind all else: nothing looks there
            tensors["mask_b1tt"] = within_owner(torch.from_numpy(owner_bt))
        count = int(is_read.sum())
        ids = tuple(dict.fromkeys(span.document for row in rows for span in row))
        return Batch(tensors, count, count, len(rows), ids)

    def terms(self, model: Any, batch: Batch) -> Terms:
        """``position_ids`` alone would not part the documents; the mask does."""
        tensors = batch.tensors
        hidden_btd = model.model(
            input_ids=tensors["tokens_bt"],
            position_ids=tensors["positions_bt"],
            attention_mask=additive(tensors.get("mask_b1tt"), model.dtype),
            use_cache=False,
        ).last_hidden_state
        hidden_ad = hidden_btd.flatten(0, 1)
        if "read_at_a" in tensors:
            hidden_ad = hidden_ad[tensors["read_at_a"]]
        logits_av = model.lm_head(hidden_ad).float()
        loss = functional.cross_entropy(logits_av, tensors["labels_a"], reduction="sum")
        right = int((logits_av.detach().argmax(-1) == tensors["labels_a"]).sum())
        return Terms(loss, batch.count, {"token_accuracy": (float(right), batch.count)})
