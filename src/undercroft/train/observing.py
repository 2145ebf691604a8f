"""Looks at the numbers inside a model while it trains, without changing them.

At some steps the distribution of weights, gradients and updates of every block is taken, and what
its activations are like. Of each weight every n-th number is looked at, so that a look costs about
the same for a model of any size; a test holds that training is the same to the bit. Ranks look at
what they hold, and add up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from undercroft.ledger.observed import KINDS, LOWEST, NUM_BINS, Activity, Block, Look, Spread
from undercroft.train.parallel.placement import own
from undercroft.train.parallel.sharding import blocks
from undercroft.train.parallel.team import Team

#: Numbers of all weights that are looked at, and of the output of a block in one pass.
MOST_NUMBERS: Final = 2**20
MOST_ACTIVATIONS: Final = 2**17
#: Of a run's time: looks that would take more are left out.
MOST_TIME: Final = 0.01
#: In root mean squares. Dettmers et al. ("LLM.int8()", 2022) call numbers outliers from 6 on, in
#: models whose activations are about 1.
OUTLIER: Final = 6.0

Masters = Mapping[str, nn.Parameter]
"""By name what the optimizer steps; of what several ranks step alike only one's."""


class Observer:
    """Looks at ``model`` and its ``masters`` at step 1 and every ``every`` steps (0: never).

    In a ``team`` all ranks call the same methods. ``spent_s`` is the time that looks took.
    """

    def __init__(
        self, model: nn.Module, masters: Callable[[], Masters], every: int, team: Team
    ) -> None:
        self._model = model
        self._masters = masters
        self._every = every
        self.spent_s = 0.0
        self._team = team
        self._activity: dict[str, Activity] = {}
        self._spreads: dict[tuple[str, str], Spread] = {}
        self._weights: dict[str, Tensor] = {}

    def is_due(self, step: int, elapsed_s: float) -> bool:
        """Whether to look at ``step``, ``elapsed_s`` after the run's beginning."""
        if not self._every or not (step == 1 or step % self._every == 0):
            return False
        return self._team.from_first(self.spent_s <= MOST_TIME * elapsed_s)

    @contextmanager
    def activations(self, is_due: bool) -> Iterator[None]:
        """If it ``is_due``, look at what the model's blocks give in the passes made inside."""
        hooks = []
        for path, block in blocks(self._model) if is_due else ():
            name = _block_of(path + ".")
            hooks.append(block.register_forward_hook(partial(self._saw, name)))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _saw(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:  # noqa: ARG002
        """A forward hook: one pass of the block ``name``."""
        started = time.monotonic()
        given = output[0] if isinstance(output, tuple) else output
        if isinstance(given, Tensor):
            seen = _activity(own(given.detach()))
            self._activity[name] = self._activity.get(name, Activity()) + seen
        self.spent_s += time.monotonic() - started

    def before_update(self, grad_scale: float) -> None:
        """Look at the weights, and at the gradients, which are to be multiplied by
        ``grad_scale``."""
        started = time.monotonic()
        masters = self._masters()
        self._weights = _by_block({name: each.detach() for name, each in masters.items()})
        grads = _by_block({name: each.grad for name, each in masters.items()})
        for block, sample in self._weights.items():
            self._spreads[block, "weights"] = _spread(sample)
        for block, sample in grads.items():
            self._spreads[block, "gradients"] = _spread(sample * grad_scale)
        self.spent_s += time.monotonic() - started

    def after_update(self, step: int) -> Look:
        """Look at what the update was, and tell what was seen at ``step``, by all ranks."""
        started = time.monotonic()
        after = _by_block({name: each.detach() for name, each in self._masters().items()})
        for block, sample in after.items():
            self._spreads[block, "updates"] = _spread(sample - self._weights[block])
        mine = (self._spreads, self._activity)
        self.forget()
        found = _added(step, self._team.gather(mine))
        self.spent_s += time.monotonic() - started
        return found

    def forget(self) -> None:
        """Of a step that is dropped there is nothing to tell."""
        self._spreads, self._activity, self._weights = {}, {}, {}


def _activity(given: Tensor) -> Activity:
    """Of every n-th of the numbers that a block gave."""
    flat = given.reshape(-1)
    sample = flat[:: _coprime(-(-flat.numel() // MOST_ACTIVATIONS), given.shape[-1])].float()
    size = sample.abs()
    squares = float(sample.square().sum(dtype=torch.float64))
    bound = OUTLIER * math.sqrt(squares / max(1, sample.numel()))
    return Activity(
        sample.numel(),
        squares,
        float(size.max()) if sample.numel() else 0.0,
        int((sample == 0).sum()),
        int((size > bound).sum()),
    )


def _coprime(stride: int, width: int) -> int:
    """At least ``stride``, and such that every column of ``width`` is come to."""
    stride = max(1, stride)
    while math.gcd(stride, width) != 1:
        stride += 1
    return stride


def _by_block(tensors: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    """Copies of every n-th number, by block; of tensors of the same shapes the same ones."""
    there = {name: each for name, each in tensors.items() if each is not None}
    stride = -(-sum(each.numel() for each in there.values()) // MOST_NUMBERS)
    parts: dict[str, list[Tensor]] = {}
    for name, tensor in there.items():
        width = tensor.shape[-1] if tensor.ndim else 1
        sample = tensor.reshape(-1)[:: _coprime(stride, width)].float()
        parts.setdefault(_block_of(name), []).append(sample)
    return {block: torch.cat(some) for block, some in parts.items()}


def _spread(sample: Tensor) -> Spread:
    size = sample.abs()
    finite = size[(size > 0) & size.isfinite()]
    logs = finite.log2().clamp_(LOWEST, LOWEST + NUM_BINS - 1e-3)
    counts = torch.histc(logs.cpu(), NUM_BINS, LOWEST, LOWEST + NUM_BINS)
    squares = float(finite.square().sum(dtype=torch.float64))
    return Spread([int(each) for each in counts.tolist()], int((size == 0).sum()), squares)


def _block_of(name: str) -> str:
    """``layers.3`` of ``model.layers.3.mlp.up_proj.weight``; else the module whose weight it is."""
    parts = name.split(".")
    for at, part in enumerate(parts[:-1]):
        if part.isdecimal():
            return ".".join(parts[max(0, at - 1) : at + 1])
    return parts[-2] if len(parts) > 1 else name


def _added(
    step: int, told: Sequence[tuple[Mapping[tuple[str, str], Spread], Mapping[str, Activity]]]
) -> Look:
    """The looks of all ranks as one."""
    spreads: dict[tuple[str, str], Spread] = {}
    activity: dict[str, Activity] = {}
    for theirs, their_activity in told:
        for key, each in theirs.items():
            spreads[key] = spreads.get(key, Spread()) + each
        for name, seen in their_activity.items():
            activity[name] = activity.get(name, Activity()) + seen
    names = dict.fromkeys([*(block for block, _ in spreads), *activity])
    blocks = {
        name: Block(
            {kind: spreads[name, kind] for kind in KINDS if (name, kind) in spreads},
            activity.get(name),
        )
        for name in names
    }
    return Look(step, blocks)
