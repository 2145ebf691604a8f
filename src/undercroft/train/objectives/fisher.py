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
backward pass for a batch is right for any objective, and one example in each varies least. A model
that is sure of itself is seldom drawn to another label, and those draws make up its Fisher: where
there are few labels, `exact_diagonal` weighs every one by its probability instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from undercroft.errors import BadInput
from undercroft.train.objectives.objective import Batch

Logits = Callable[[Any, Batch], Tensor]
"""``(model, batch) -> logits where a target is predicted`` (A targets, V classes or tokens)."""


def diagonal(
    model: nn.Module, batches: Iterable[Batch], logits: Logits, seed: int, draws: int = 1
) -> dict[str, Tensor]:
    """The Fisher of a target, by trainable weight, in float32: the mean over ``batches``.

    Labels are drawn ``draws`` times for each batch, from ``seed``. Dropout is off and no gradient
    is left behind. Raises `BadInput` when there is nothing to measure on.
    """
    draw = torch.Generator().manual_seed(seed)

    def drawn(log_av: Tensor) -> Iterator[Tensor]:
        for _ in range(draws):
            labels_a1 = torch.multinomial(log_av.detach().exp().cpu(), 1, generator=draw)
            yield log_av.gather(-1, labels_a1.to(log_av.device)).sum() / math.sqrt(draws)

    return _mean_squared_scores(model, batches, logits, drawn)


def exact_diagonal(model: nn.Module, batches: Iterable[Batch], logits: Logits) -> dict[str, Tensor]:
    """As `diagonal`, with every label in turn; each batch has one target of few labels."""

    def every(log_av: Tensor) -> Iterator[Tensor]:
        (log_v,) = log_av
        for log in log_v:
            yield log * (log.detach() / 2).exp()

    return _mean_squared_scores(model, batches, logits, every)


def _mean_squared_scores(
    model: nn.Module,
    batches: Iterable[Batch],
    logits: Logits,
    likelihoods: Callable[[Tensor], Iterator[Tensor]],
) -> dict[str, Tensor]:
    """The squares of the gradients of what ``likelihoods`` gives for a batch's log-probabilities,
    summed, over the targets of all batches."""
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    total = {name: torch.zeros_like(w, dtype=torch.float32) for name, w in weights.items()}
    was_training = model.training
    model.eval()
    count = 0
    for batch in batches:
        count += batch.count
        here = batch.to(next(iter(weights.values())).device)
        log_av = torch.log_softmax(logits(model, here).float(), dim=-1)
        for likelihood in likelihoods(log_av):
            scores = torch.autograd.grad(
                likelihood, list(weights.values()), retain_graph=True, allow_unused=True
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
