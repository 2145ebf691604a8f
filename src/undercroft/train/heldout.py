"""Loss on what training does not read, and when it is time to stop because of it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from undercroft.errors import BadInput

S = TypeVar("S", bound=Sized)
T = TypeVar("T")

#: Samples that are held out at most: each is read at every measurement.
MOST_SAMPLES: Final = 64


@dataclass
class Patience:
    """The best held-out loss so far; in the checkpoint. ``limit`` 0: never out of patience.

    A loss is better when it is lower at all: how far it must fall is for ``limit`` to say.
    """

    limit: int
    best: float = math.inf
    best_step: int | None = None
    waited: int = 0

    @property
    def is_out(self) -> bool:
        return bool(self.limit) and self.waited >= self.limit

    def is_better(self, step: int, loss: float) -> bool:
        """Whether ``loss``, measured after ``step``, is the best; it is remembered."""
        if loss < self.best:
            self.best, self.best_step, self.waited = loss, step, 0
            return True
        self.waited += 1
        return False


def apart(
    samples: Sequence[T], share: float, seed: int, origin: Callable[[T], Hashable]
) -> tuple[Sequence[T], Sequence[T]]:
    """``samples`` in two: those to train on, and about ``share`` of them to measure on.

    All of one ``origin`` are on one side. Nothing is held out for a ``share`` of 0. Raises
    `BadInput` when there are too few origins to part.
    """
    if not share:
        return samples, ()
    origins = list(dict.fromkeys(map(origin, samples)))
    draw = random.Random(f"{seed}:heldout")  # noqa: S311 - a sample, not secrecy
    draw.shuffle(origins)
    wanted = min(MOST_SAMPLES, max(1, round(share * len(samples))))
    sizes: dict[Hashable, int] = {}
    for sample in samples:
        sizes[origin(sample)] = sizes.get(origin(sample), 0) + 1
    held: set[Hashable] = set()
    for each in origins[1:]:  # one stays to be trained on
        if sum(sizes[other] for other in held) >= wanted:
            break
        held.add(each)
    if not held:
        raise BadInput(
            "Nothing can be held out.",
            "All there is to train on comes from one source.",
            "Give more documents, or set heldout to 0.",
        )
    return (
        [sample for sample in samples if origin(sample) not in held],
        [sample for sample in samples if origin(sample) in held],
    )


class Heldout(Generic[S]):
    """Measures a model on ``samples`` without changing it, its objective or the random numbers.

    In a team each rank reads its share, and all are told the same. ``look`` gives the `Terms` of a
    batch, or nothing where another rank has them.
    """

    def __init__(
        self,
        model: Any,
        objective: Any,
        samples: Sequence[S],
        team: Any,
        look: Callable[[Any], Any] | None = None,
    ) -> None:
        self._model = model
        self._objective = objective
        self._samples = samples
        self._team = team
        self._look = look or (lambda batch: objective.terms(model, batch))
        self._batches: list[Any] | None = None

    def __bool__(self) -> bool:
        return bool(self._samples)

    def measure(self) -> dict[str, float]:
        """The mean loss of a target, and of all else that the objective measures, in evaluation
        mode; raises `BadInput` when none of the samples is usable."""
        import torch

        was_training = self._model.training
        self._model.eval()
        kept = self._state()
        try:
            with torch.no_grad():
                sums = self._sums()
        finally:
            self._model.train(was_training)
            if kept is not None:
                self._objective.load(kept)
        totals: dict[str, tuple[float, int]] = {}
        for theirs in self._team.gather(sums):
            for name, (value, count) in theirs.items():
                before = totals.get(name, (0.0, 0))
                totals[name] = (before[0] + value, before[1] + count)
        return {name: value / max(1, count) for name, (value, count) in totals.items()}

    def _sums(self) -> dict[str, tuple[float, int]]:
        """Of this rank's share: as many passes as every other, since spread weights need all."""
        batches = self._collated()
        sums: dict[str, tuple[float, int]] = {}
        data = self._team.data
        for first in range(0, len(batches), data.size):
            at = first + data.rank
            terms = self._look(batches[min(at, len(batches) - 1)].to(self._team.device))
            if terms is None or at >= len(batches):
                continue
            found = {"heldout_loss": (float(terms.loss_sum), terms.count)}
            found |= {f"heldout_{name}": each for name, each in terms.metrics.items()}
            for name, (value, count) in found.items():
                before = sums.get(name, (0.0, 0))
                sums[name] = (before[0] + value, before[1] + count)
        return sums

    def _collated(self) -> list[Any]:
        if self._batches is None:
            found = [self._objective.collate(sample) for sample in self._samples]
            self._batches = [
                batch for batch in found if batch is not None
            ]  # few: they stay in memory
            if not self._batches:
                raise BadInput(
                    "None of what was held out can be read.",
                    "Each is longer than the tokens that are read at once.",
                    "Raise max_tokens, or heldout, so that other examples are among them.",
                )
        return self._batches

    def _state(self) -> dict[str, Any] | None:
        """A copy of the state of an objective that has one."""
        if not hasattr(self._objective, "state"):
            return None
        return {name: each.clone() for name, each in self._objective.state().items()}
