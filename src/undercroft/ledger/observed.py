"""How the numbers inside a model were distributed, by block and step: a file of lines beside a run.

Each line is a look at one step. A distribution is that of log2|x|: counts of numbers between
powers of two, from 2**`LOWEST` on, the first and last bin taking what lies beyond; zeros are
counted apart. Counts of parts add up to those of the whole.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

LOWEST: Final = -40
NUM_BINS: Final = 52  # up to 2**12
KINDS: Final = ("weights", "gradients", "updates")
_FOLDER: Final = "observed"


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution: ``counts`` by bin, ``zeros``, and the sum of squares of all."""

    counts: Sequence[int] = (0,) * NUM_BINS
    zeros: int = 0
    squares: float = 0.0

    @property
    def total(self) -> int:
        return sum(self.counts) + self.zeros

    @property
    def rms(self) -> float:
        return math.sqrt(self.squares / self.total) if self.total else 0.0

    def __add__(self, other: Spread) -> Spread:
        counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        return Spread(counts, self.zeros + other.zeros, self.squares + other.squares)

    def quantile(self, share: float) -> float | None:
        """log2 of what ``share`` of the numbers that are not zero are below; None without any."""
        wanted, so_far = share * sum(self.counts), 0
        if not any(self.counts):
            return None
        for at, count in enumerate(self.counts):
            if count and so_far + count >= wanted:
                return LOWEST + at + (wanted - so_far) / count
            so_far += count
        return float(LOWEST + NUM_BINS)

    def as_list(self) -> list[Any]:
        """[first bin that is not empty, counts from there on, zeros, sum of squares]"""
        filled = [at for at, count in enumerate(self.counts) if count]
        first, last = (filled[0], filled[-1] + 1) if filled else (0, 0)
        return [first, list(self.counts[first:last]), self.zeros, float(f"{self.squares:.6g}")]

    @classmethod
    def of_list(cls, record: Sequence[Any]) -> Spread:
        first, some, zeros, squares = record
        counts = [0] * first + some + [0] * (NUM_BINS - first - len(some))
        return cls(counts, zeros, squares)


@dataclass(frozen=True, slots=True)
class Activity:
    """What a block gave: ``num`` numbers, their sum of squares and largest size, and how many were
    zeros, and how many over six times their root mean square."""

    num: int = 0
    squares: float = 0.0
    largest: float = 0.0
    zeros: int = 0
    outliers: int = 0

    @property
    def rms(self) -> float:
        return math.sqrt(self.squares / self.num) if self.num else 0.0

    def __add__(self, other: Activity) -> Activity:
        return Activity(
            self.num + other.num,
            self.squares + other.squares,
            max(self.largest, other.largest),
            self.zeros + other.zeros,
            self.outliers + other.outliers,
        )


@dataclass(frozen=True, slots=True)
class Block:
    """One block at one step; what was not observed of it is empty."""

    spreads: Mapping[str, Spread] = field(default_factory=dict[str, Spread])
    activity: Activity | None = None

    @property
    def update_ratio(self) -> float | None:
        """The root mean square of the update over that of the weights."""
        weights, updates = self.spreads.get("weights"), self.spreads.get("updates")
        return updates.rms / weights.rms if weights and updates and weights.rms else None


@dataclass(frozen=True, slots=True)
class Look:
    """All blocks at one step, in the model's order."""

    step: int
    blocks: Mapping[str, Block]

    def whole(self, kind: str) -> Spread:
        """The distribution over all blocks."""
        found = (block.spreads.get(kind) for block in self.blocks.values())
        return sum((each for each in found if each), Spread())

    def as_dict(self) -> dict[str, Any]:
        """The form in which it is written, and told between processes."""
        return {
            "step": self.step,
            "blocks": {
                name: {
                    **{kind: each.as_list() for kind, each in block.spreads.items()},
                    **({} if block.activity is None else {"activity": _numbers(block.activity)}),
                }
                for name, block in self.blocks.items()
            },
        }

    @classmethod
    def of_dict(cls, record: Mapping[str, Any]) -> Look:
        return cls(
            int(record["step"]),
            {
                name: Block(
                    {kind: Spread.of_list(block[kind]) for kind in KINDS if kind in block},
                    Activity(*block["activity"]) if "activity" in block else None,
                )
                for name, block in record["blocks"].items()
            },
        )

    def metrics(self) -> dict[str, float]:
        """In numbers for a tracker of experiments: quantiles of each distribution, by block."""
        found: dict[str, float] = {}
        for name, block in self.blocks.items():
            for kind, spread in block.spreads.items():
                for share in (0.05, 0.5, 0.95):
                    value = spread.quantile(share)
                    if value is not None:
                        found[f"log2_{kind}_q{share * 100:02.0f}/{name}"] = value
            if block.update_ratio is not None:
                found[f"update_ratio/{name}"] = block.update_ratio
            if block.activity is not None:
                found[f"activation_rms/{name}"] = block.activity.rms
        return found


def path_of(state: Path, run_id: str) -> Path:
    """The file of a run, in a project's state folder."""
    return state / _FOLDER / f"{run_id}.jsonl"


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add what `Look.as_dict` gave."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as out:
        out.write(json.dumps(record, separators=(",", ":")) + "\n")


def read(path: Path) -> list[Look]:
    """The looks in ``path`` by rising steps; none if there is no such file.

    Of a step that was taken again after a crash the last counts; a line that was not written whole
    is left out.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found: list[Look] = []
    for look in _looks(lines):
        while found and found[-1].step >= look.step:
            found.pop()
        found.append(look)
    return found


def _looks(lines: Iterable[str]) -> Iterable[Look]:
    for line in lines:
        try:
            yield Look.of_dict(json.loads(line))
        except (ValueError, KeyError, TypeError):
            continue


def _numbers(activity: Activity) -> list[float]:
    each = activity
    squares, largest = (float(f"{value:.6g}") for value in (each.squares, each.largest))
    return [each.num, squares, largest, each.zeros, each.outliers]
