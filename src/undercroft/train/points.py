"""What a run knows of itself as numbers: one step's, and sums over all of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from undercroft.train.drawing import Draw

Part = Literal["draw", "passes", "update", "checkpoint", "heldout", "observe"]


@dataclass(frozen=True, slots=True)
class Point:
    """What one step measured.

    ``loss`` is the mean over the step's targets before the update, and ``metrics`` are means of
    what the objective measures besides, such as ``token_accuracy``. ``tokens``, ``targets`` and
    ``examples`` are counted from the run's beginning, without steps that were dropped. ``seconds``
    tell where the time since the step before went. ``observed`` is what was seen inside the model,
    as `ledger.observed.Look.as_dict` gives it.
    """

    step: int
    loss: float
    grad_norm: float
    lr: float
    tokens_per_s: float
    tokens: int = 0
    targets: int = 0
    examples: int = 0
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    metrics: dict[str, float] = field(default_factory=dict[str, float])
    observed: dict[str, Any] | None = None

    def flat(self) -> dict[str, float]:
        """All of it in one mapping, as it is written down."""
        names = ("step", "loss", "grad_norm", "lr", "tokens_per_s", "tokens", "examples")
        own = {name: getattr(self, name) for name in names}
        return {**own, **self.metrics, **{f"{part}_s": each for part, each in self.seconds.items()}}


@dataclass
class Tally:
    """Sums over the run so far, and what was read when; in the checkpoint.

    ``positions`` are the sampler's after each step, ``dropped`` the steps that taught nothing: the
    guard left them out, or went back to before them, or a better checkpoint's weights were taken,
    or one of the ``overflows`` of fp16 was in them.
    ``partly`` names, for samples that were not read whole, the ids of what was. ``stopped_early``
    is the step at which the held-out loss had not got better for too long, ``best_step`` the one
    whose weights were best at it: they had ``heldout_loss``.
    """

    tokens: int = 0
    targets: int = 0
    examples: int = 0
    skipped: int = 0
    left_out: int = 0
    losses: list[float] = field(default_factory=list[float])
    positions: list[int] = field(default_factory=list[int])
    dropped: list[int] = field(default_factory=list[int])
    partly: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    halvings: int = 0
    rollbacks: int = 0
    overflows: int = 0
    stopped_early: int | None = None
    best_step: int | None = None
    heldout_loss: float | None = None

    def note(self, draw: Draw, position: int) -> None:
        """A step read ``draw``; the sampler is at ``position``."""
        self.positions.append(position)
        for each in draw.all:
            if each.left_out:
                self.left_out += each.left_out
                self.partly[str(each.number)] = list(each.ids)

    def count(self, draw: Draw, loss: float) -> None:
        """The model learnt from ``draw``."""
        self.tokens += draw.tokens
        self.targets += draw.count
        self.examples += draw.examples
        self.losses.append(loss)

    def drop(self, first: int, last: int) -> None:
        """The steps from ``first`` to ``last`` are not in the weights, whatever they taught."""
        self.dropped = sorted({*self.dropped, *range(first, last + 1)})


class Clock:
    """Adds up seconds by what they were spent on."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: Part) -> Iterator[None]:
        """Count the block's seconds as ``name``'s."""
        started = time.monotonic()
        try:
            yield
        finally:
            spent = time.monotonic() - started
            self._seconds[name] = self._seconds.get(name, 0.0) + spent

    def take(self) -> dict[str, float]:
        """The seconds since this was asked last."""
        found, self._seconds = self._seconds, {}
        return found
