"""Samples out of several sequences, each its due: several tasks at once, or earlier data among new.

Which samples a part gives is drawn once, from a seed; when each is read is the sampler's, a pure
function of seed and position. So a run on a mixture resumes exactly, and its record of what was
read is that of any other run.
"""

from __future__ import annotations

import random
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from undercroft.errors import BadInput

S = TypeVar("S")
Z = TypeVar("Z", bound=Sized)


@dataclass(frozen=True, slots=True)
class Sample(Generic[Z]):
    """What is read in one pass, and as which task."""

    task: str
    content: Z

    def __len__(self) -> int:
        return len(self.content)


def content_of(sample: Any) -> Any:
    """What is read in one pass, be it of one task of several or of the only one."""
    return sample.content if isinstance(sample, Sample) else sample


@dataclass(frozen=True, slots=True, eq=False)
class OfTask(Sequence[Sample[Z]]):
    """The ``samples`` of one task."""

    task: str
    samples: Sequence[Z]

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, at: int) -> Sample[Z]: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Sample[Z]]: ...
    def __getitem__(self, at: int | slice) -> Sample[Z] | Sequence[Sample[Z]]:
        if isinstance(at, slice):
            return OfTask(self.task, self.samples[at])
        return Sample(self.task, self.samples[at])


@dataclass(frozen=True, slots=True, eq=False)
class Mixture(Sequence[S]):
    """Samples out of several sequences; ``picks`` are (which sequence, which of its samples)."""

    parts: tuple[Sequence[S], ...]
    picks: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.picks)

    @overload
    def __getitem__(self, at: int) -> S: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[S]: ...
    def __getitem__(self, at: int | slice) -> S | Sequence[S]:
        if isinstance(at, slice):
            return Mixture(self.parts, self.picks[at])
        part, sample = self.picks[at]
        return self.parts[part][sample]


def mixed(parts: Sequence[Sequence[S]], dues: Sequence[int], seed: int) -> Mixture[S]:
    """``dues[n]`` samples of each part n, none twice before all of the part are there once."""
    picks: list[tuple[int, int]] = []
    for number, (part, due) in enumerate(zip(parts, dues, strict=True)):
        rounds, rest = divmod(due, len(part)) if due else (0, 0)
        draw = random.Random(f"{seed}:mixture:{number}")  # noqa: S311 - order, not secrecy
        chosen = [*range(len(part))] * rounds + sorted(draw.sample(range(len(part)), rest))
        picks += [(number, sample) for sample in chosen]
    return Mixture(tuple(parts), tuple(picks))


def replayed(
    new: Sequence[S], earlier: Sequence[Sequence[S]], share: float, seed: int
) -> Mixture[S]:
    """``new`` and samples of ``earlier``, which are ``share`` of the whole, each part alike.

    A part with fewer samples than its due gives all of them, and some again. Raises `BadInput` for
    a share that is not below 1, and where there is nothing earlier to replay.
    """
    if not 0 <= share < 1:
        raise BadInput(
            f"A share of replay of {share:g} cannot be.",
            "It is the earlier data's part of all that is read.",
            "Give at least 0 and less than 1, such as 0.2.",
        )
    if share and not any(map(len, earlier)):
        raise BadInput(
            "There is nothing to replay.",
            "The earlier data hold no sample.",
            "Give earlier data, or a share of 0.",
        )
    parts = [part for part in earlier if len(part)]
    wanted = round(share / (1 - share) * len(new))
    dues = [wanted // len(parts) + (n < wanted % len(parts)) for n in range(len(parts))]
    return mixed([new, *parts], [len(new), *dues], seed)
