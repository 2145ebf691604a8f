"""How much each weight matters to what a model has learnt: the diagonal of its Fisher information.

F_i = E_x E_y~p(y|x) [(d log p(y|x) / d w_i)^2], the labels y drawn from the model itself
(Kirkpatrick et al. 2017; Martens 2020, section 5). Two short cuts that are often taken give
something else:

- *The data's labels* in place of drawn ones are the empirical Fisher, which vanishes where a model
  fits its data, whatever its weights matter (Kunstner et al. 2019).
- *The gradient of a batch's mean loss, squared.* With the data's labels the examples' gradients
  cancel at an optimum, and what is left is noise, smaller by the size of the batch.

With labels drawn here no cross terms are expected, since scores have mean zero and the draws are
independent: the square of a *sum* over targets is unbiased for the sum of their Fishers. So one
backward pass for a batch is right for any objective, and one example in each varies least.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from undercroft.errors import BadInput
from undercroft.train.objective import Batch

Logits = Callable[[Any, Batch], Tensor]
"""``(model, batch) -> logits where a target is predicted`` (A targets, V classes or tokens)."""


def diagonal(
    model: nn.Module, batches: Iterable[Batch], logits: Logits, seed: int, draws: int = 1
) -> dict[str, Tensor]:
    """The Fisher of a target, by trainable weight, in float32: the mean over ``batches``.

    Labels are drawn ``draws`` times for each batch, from ``seed``. Dropout is off and no gradient
    is left behind. Raises `BadInput` when there is nothing to measure on.
    """
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    total = {
        name: torch.zeros_like(weight, dtype=torch.float32) for name, weight in weights.items()
    }
    draw = torch.Generator().manual_seed(seed)
    was_training = model.training
    model.eval()
    count = 0
    for batch in batches:
        count += batch.count * draws
        logits_av = logits(model, batch).float()
        for number in range(draws):
            likelihood = _drawn_log_likelihood(logits_av, draw)
            keep = number + 1 < draws
            scores = torch.autograd.grad(
                likelihood, list(weights.values()), retain_graph=keep, allow_unused=True
            )
            for name, score in zip(weights, scores, strict=True):
                if score is not None:
                    total[name].addcmul_(score.float(), score.float())
    model.train(was_training)
    if not count:
        raise BadInput(
            "Nothing says which weights matter.",
            "The earlier data that they are to be measured on is empty.",
            "Give examples of what must not be forgotten.",
        )
    return {name: value / count for name, value in total.items()}


def _drawn_log_likelihood(logits_av: Tensor, draw: torch.Generator) -> Tensor:
    """The log-likelihood, summed over targets, of labels that the model itself would give."""
    log_av = torch.log_softmax(logits_av, dim=-1)
    labels_a1 = torch.multinomial(log_av.detach().exp(), 1, generator=draw)
    return log_av.gather(-1, labels_a1).sum()
