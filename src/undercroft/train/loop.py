"""The one training loop: fetch -> forward and backward -> clip -> guard -> step -> log -> save.

A run that is killed goes on from its last checkpoint and ends with the same weights as one that
was not, given ``max_steps`` and the same number of threads.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import nn

from undercroft.errors import BadInput, StageFailed
from undercroft.settings import LoopSettings
from undercroft.train import checkpoint
from undercroft.train.data import Sampler
from undercroft.train.objective import Batch, Objective
from undercroft.train.optimizer import MasterAdamW
from undercroft.train.schedule import Schedule

MAX_SKIPPED_IN_A_ROW = 5
RIGHT = ("token_accuracy", "pair_accuracy")  # an objective counts one of them, of its targets

S = TypeVar("S", bound=Sized)

Report = Callable[["Point", Schedule], None]
Event = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Point:
    """What one step measured, before the update.

    ``loss`` is the mean over the step's targets, and ``token_accuracy`` the share of them that was
    right: of tokens, or of pairs where those are the targets.
    """

    step: int
    loss: float
    grad_norm: float
    lr: float
    tokens_per_s: float
    token_accuracy: float


@dataclass
class Tally:
    """Sums over the run so far, and what was read when; in the checkpoint.

    ``positions`` are the sampler's after each step, ``dropped`` the steps that the guard dropped,
    and ``partly`` names, for samples that were not read whole, the ids of what was.
    """

    tokens: int = 0
    targets: int = 0
    examples: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    left_out: int = 0
    losses: list[float] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    partly: dict[str, list[str]] = field(default_factory=dict)


class Run(Generic[S]):
    """The state of one training run.

    Each of ``samples`` is read in one forward pass. ``event`` records what deserves notice;
    ``report`` is told of each step and may raise to stop the run. ``section`` is the one of the
    settings that ``params`` are, for what errors advise.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective[S],
        samples: Sequence[S],
        params: LoopSettings,
        *,
        folder: Path,
        config_digest: str,
        event: Event,
        section: str = "train",
    ) -> None:
        _seed_everything(params.seed)
        self.model = model
        self._objective = objective
        self._samples = samples
        self._params = params
        self._section = section
        self._folder = folder
        self._digest = config_digest
        self._event = event
        self._optimizer = MasterAdamW(model, params.weight_decay)
        self._sampler = Sampler(len(samples), params.seed)
        self.schedule = Schedule(
            params.learning_rate, params.warmup_fraction, params.minutes * 60, params.max_steps
        )
        self.tally = Tally()
        self._resume()

    def train(self, report: Report) -> Tally:
        """Go to the end of the schedule."""
        self.model.train()
        saved = time.monotonic()
        while self.schedule.steps_left:
            started = time.monotonic()
            point = self._step()
            self.schedule.advance(time.monotonic() - started)
            if point is not None:
                report(point, self.schedule)
            if time.monotonic() - saved >= self._params.checkpoint_seconds:
                started = time.monotonic()
                self.save()
                saved = time.monotonic()
                self.schedule.elapsed_s += saved - started  # the budget is wall-clock time
        return self.tally

    def save(self) -> None:
        """Write a checkpoint of this very state."""
        state = {
            "config_digest": self._digest,
            "sampler": self._sampler.position,
            "schedule": self.schedule.state(),
            "tally": asdict(self.tally),
        }
        checkpoint.save(
            self._folder,
            checkpoint.Checkpoint(self.schedule.step, self._optimizer.state(), state),
        )

    def _resume(self) -> None:
        found = checkpoint.newest(self._folder, self._digest)
        if found is None:
            return
        self._optimizer.load(found.tensors)
        self._sampler.position = found.state["sampler"]
        self.schedule = Schedule(**found.state["schedule"])
        self.tally = Tally(**found.state["tally"])
        self._event("resumed", {"step": found.step})

    def _step(self) -> Point | None:
        """One optimizer step; None when the guard dropped it."""
        started = time.monotonic()
        batches = self._fetch()
        self.tally.positions.append(self._sampler.position)
        count = sum(batch.count for batch in batches)
        rate = self.schedule.rate()
        loss, right = 0.0, 0.0
        for batch in batches:
            terms = self._objective.terms(self.model, batch)
            (terms.loss_sum / count).backward()
            loss += float(terms.loss_sum.detach())
            right += sum(terms.metrics.get(name, (0.0, 0))[0] for name in RIGHT)
        norm = self._optimizer.gather(self._params.max_grad_norm)
        if not self._is_sound(loss, norm, batches):
            return None
        self._optimizer.step(rate)
        tokens = sum(batch.num_tokens for batch in batches)
        self._count(batches, tokens, count, loss / count)
        seconds = max(time.monotonic() - started, 1e-9)
        step = self.schedule.step + 1
        return Point(step, loss / count, norm, rate, tokens / seconds, right / count)

    def _fetch(self) -> list[Batch]:
        """Batches of at least ``batch_size`` examples together."""
        batches: list[Batch] = []
        misses = 0
        while sum(batch.num_examples for batch in batches) < self._params.batch_size:
            number = next(self._sampler)
            sample = self._samples[number]
            batch = self._objective.collate(sample)
            left_out = len(sample) - (batch.num_examples if batch else 0)
            if left_out:
                self.tally.left_out += left_out
                self.tally.partly[str(number)] = list(batch.ids) if batch else []
            misses = 0 if batch else misses + 1
            if batch is not None:
                batches.append(batch)
            elif misses >= len(self._samples):
                raise BadInput(
                    "No example is short enough to train on.",
                    "Each is longer than the tokens that are read at once.",
                    "Raise train.max_tokens, or lower index.chunk_chars or retrieve.passages.",
                )
        return batches

    def _is_sound(self, loss: float, norm: float, batches: Sequence[Batch]) -> bool:
        """Drop a step whose loss or gradient is not finite; give up when that does not stop."""
        if np.isfinite(loss) and np.isfinite(norm):
            self.tally.skipped_in_a_row = 0
            return True
        self._optimizer.discard()
        self.tally.skipped += 1
        self.tally.skipped_in_a_row += 1
        self.tally.dropped.append(self.schedule.step + 1)
        examples = [name for batch in batches for name in batch.ids]
        self._event("skipped_step", {"step": self.schedule.step + 1, "examples": examples})
        if self.tally.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise StageFailed(
                f"The loss was not finite in {MAX_SKIPPED_IN_A_ROW} steps in a row.",
                "Training has diverged.",
                f"Lower {self._section}.learning_rate, or set {self._section}.precision to fp32.",
            )
        return False

    def _count(self, batches: Sequence[Batch], tokens: int, targets: int, loss: float) -> None:
        self.tally.tokens += tokens
        self.tally.targets += targets
        self.tally.examples += sum(batch.num_examples for batch in batches)
        self.tally.losses.append(loss)


def _seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
