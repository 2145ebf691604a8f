"""Learning from pairs: of two answers to a prompt the chosen one should be likelier, or worth more.

Both answers of a pair share their prompt, which is read once (`branches`). A pair is one target.
The log-ratio of an answer is how much likelier it is than it was to the reference, the parent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from undercroft.records import Preference
from undercroft.train.models.lora import adapters_off
from undercroft.train.objectives.branches import Branch, answer_losses, hidden_states, pack
from undercroft.train.objectives.chat import encoded
from undercroft.train.objectives.objective import Batch, Terms
from undercroft.train.parallel.placement import is_spread

Reference = Callable[[Any, Batch], Tensor]
"""``(model, batch) -> sums of the log-probabilities that the parent gave`` (B pairs, 2)."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A `Preference` in tokens."""

    id: str
    chosen: Branch
    rejected: Branch

    def __len__(self) -> int:
        """Tokens it takes in a sequence, its prompt once."""
        return len(self.chosen[0]) + 1 + len(self.chosen[1]) + len(self.rejected[1])


def encode(
    tokenizer: Any, preferences: Iterable[Preference], max_tokens: int
) -> tuple[list[Pair], list[str]]:
    """The pairs of at most ``max_tokens``, and the ids of those that are longer."""
    pairs: list[Pair] = []
    too_long: list[str] = []
    for each in preferences:
        chat = [{"role": turn.role, "content": _defused(turn.text)} for turn in each.prompt]
        chosen, rejected = (
            encoded(tokenizer, chat, _defused(answer)) for answer in (each.chosen, each.rejected)
        )
        pair = Pair(each.id, chosen, rejected)
        if len(pair) <= max_tokens:
            pairs.append(pair)
        else:
            too_long.append(each.id)
    return pairs, too_long


def grouped(pairs: Sequence[Pair], most: int, max_tokens: int) -> list[tuple[Pair, ...]]:
    """Neighbours to read in one sequence: up to ``most``, and up to ``max_tokens``."""
    groups: list[list[Pair]] = []
    size = 0
    for pair in pairs:
        if groups and len(groups[-1]) < most and size + len(pair) <= max_tokens:
            groups[-1].append(pair)
            size += len(pair)
        else:
            groups.append([pair])
            size = len(pair)
    return [tuple(group) for group in groups]


def collated(pairs: Sequence[Pair]) -> Batch:
    """``pairs`` as one sequence; branch 2n is the chosen answer of pair n, 2n + 1 the rejected."""
    branches = [branch for pair in pairs for branch in (pair.chosen, pair.rejected)]
    ids = tuple(pair.id for pair in pairs)
    return replace(pack(branches, ()), count=len(pairs), num_examples=len(pairs), ids=ids)


class Likelier:
    """The chosen answer should gain on the rejected one, measured from the reference.

    ``loss`` is one of `LOSSES`; ``beta`` says how much of a gain is enough. A gain can be had by
    making both answers unlikely, the rejected one more so; against that the mean loss of the chosen
    answer's tokens counts too, ``nll`` times (Pang et al. 2024, equation 4).
    """

    def __init__(self, loss: str, beta: float, reference: Reference, nll: float = 0.0) -> None:
        self._loss = LOSSES[loss]
        self._beta = beta
        self._reference = reference
        self._nll = nll
        self.is_one_pass = not isinstance(reference, FrozenBase)

    def collate(self, pairs: Sequence[Pair], /) -> Batch | None:
        return collated(pairs)

    def terms(self, model: Any, batch: Batch) -> Terms:
        own_b2, lengths_b2 = log_probs(model, batch), lengths(batch)
        ratios_b2 = own_b2 - self._reference(model, batch)
        loss_b = self._loss(ratios_b2, lengths_b2, self._beta)
        if self._nll:
            loss_b = loss_b - self._nll * own_b2[:, 0] / lengths_b2[:, 0]
        return Terms(loss_b.sum(), batch.count, _accuracy(ratios_b2, batch))


class WorthMore:
    """The chosen answer should be worth more, by the number that the model's head gives its end.

    Bradley and Terry (1952): one answer beats another with the probability sigmoid(r - r').
    """

    is_one_pass = True

    def collate(self, pairs: Sequence[Pair], /) -> Batch | None:
        return collated(pairs)

    def terms(self, model: Any, batch: Batch) -> Terms:
        rewards_b2 = rewards(model, batch)
        loss = -functional.logsigmoid(rewards_b2[:, 0] - rewards_b2[:, 1]).sum()
        return Terms(loss, batch.count, _accuracy(rewards_b2, batch))


def log_probs(model: Any, batch: Batch) -> Tensor:
    """The log-probability of each answer: sums over its tokens (B pairs, 2)."""
    losses_a, _ = answer_losses(model, batch)
    sums = losses_a.new_zeros(2 * batch.count)
    return -sums.index_add(0, batch.tensors["branch_a"], losses_a).view(-1, 2)


def lengths(batch: Batch) -> Tensor:
    """Tokens of each answer (B pairs, 2)."""
    return torch.bincount(batch.tensors["branch_a"], minlength=2 * batch.count).view(-1, 2)


def rewards(model: Any, batch: Batch) -> Tensor:
    """What ``model.score`` gives the last token of each answer (B pairs, 2)."""
    ends = lengths(batch).flatten().cumsum(0) - 1
    last = batch.tensors["read_at_a"][ends] + 1  # targets are read one token before they stand
    scores: Tensor = model.score(hidden_states(model, batch)[last]).float()
    return scores.view(-1, 2)


def dpo(ratios_b2: Tensor, lengths_b2: Tensor, beta: float) -> Tensor:  # noqa: ARG001
    """Direct preference optimisation (Rafailov et al. 2023, equation 7)."""
    return -functional.logsigmoid(beta * (ratios_b2[:, 0] - ratios_b2[:, 1]))


def ipo(ratios_b2: Tensor, lengths_b2: Tensor, beta: float) -> Tensor:
    """Identity preference optimisation (Azar et al. 2024, equation 17), with log-ratios that are
    means over tokens, so that long answers do not weigh more."""
    means_b2 = ratios_b2 / lengths_b2
    gain_b = means_b2[:, 0] - means_b2[:, 1]
    return (gain_b - 1 / (2 * beta)) ** 2


LOSSES: Final[dict[str, Callable[[Tensor, Tensor, float], Tensor]]] = {"dpo": dpo, "ipo": ipo}


@dataclass
class FrozenBase:
    """The reference of a model with adapters: itself without them, asked once for each pair.

    What was answered for a pair is kept: it depends on the pairs beside it in its group only by
    rounding, and groups stay what they are. Weights that are spread come together only if all ranks
    ask: then every one asks each time.
    """

    known: dict[str, Tensor] = field(default_factory=dict[str, Tensor])

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        if batch.ids[0] not in self.known or any(map(is_spread, model.parameters())):
            with adapters_off(model):
                found_b2 = log_probs(model, batch)
            self.known.update(zip(batch.ids, found_b2, strict=True))
        return torch.stack([self.known[name] for name in batch.ids])


def stored(values: dict[str, list[float]]) -> Reference:
    """The reference whose sums for each pair, by its id, were computed before."""

    def look_up(model: Any, batch: Batch) -> Tensor:  # noqa: ARG001
        found_b2 = torch.tensor([values[name] for name in batch.ids])
        return found_b2.to(batch.tensors["branch_a"].device)

    return look_up


def _accuracy(values_b2: Tensor, batch: Batch) -> dict[str, tuple[float, int]]:
    """In how many pairs the chosen answer is ahead."""
    ahead = int((values_b2[:, 0] > values_b2[:, 1]).sum())
    return {"pair_accuracy": (float(ahead), batch.count)}


def _defused(text: str) -> str:
    """``text`` without control tokens (``<|…|>``): an answer cannot end its turn and go on."""
    return text.replace("<|", "< |")
