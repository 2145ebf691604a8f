"""The examples file, and the order in which training sees it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from undercroft.errors import BadInput
from undercroft.lake.refused import Refused, refused_line
from undercroft.records import Example

FILE_NAME = "examples.jsonl"

_DECODER = msgspec.json.Decoder(Example)


def read_examples(
    folder: Path, refuse: Callable[[Refused], None] = lambda _: None
) -> list[Example]:
    """The examples in ``folder`` (one JSON object a line).

    ``refuse`` is told of each line that is none. Raises `BadInput` when no line is one.
    """
    path = folder / FILE_NAME
    found: list[Example] = []
    reasons: Counter[str] = Counter()
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                found.append(example_of(line))
            except (ValueError, RecursionError) as error:
                reasons[str(error)] += 1
                refuse(refused_line(path.name, number, str(error), line))
    if not found:
        total = reasons.total()
        raise BadInput(
            f"{path} holds no example that can be read.",
            f"All {total:,} lines are damaged, most because: {reasons.most_common(1)[0][0]}."
            if total
            else "The file is empty.",
            "Make the examples again with: undercroft up",
        )
    return found


def example_of(line: bytes) -> Example:
    """Raises a `ValueError` that says why ``line`` is none."""
    example = _DECODER.decode(line)
    if not example.question.strip() or not example.answer.strip():
        raise ValueError("question or answer is empty")
    if not all(1 <= number <= len(example.passages) for number in example.cited):
        raise ValueError("it cites a passage that is not shown")
    return example


def distinct(examples: Sequence[Example], name: str) -> list[Example]:
    """``examples`` in their order, each but once, whatever its id.

    Raises `BadInput` when all of several are the same; ``name`` is what they are called.
    """
    found: dict[Any, Example] = {}
    for each in examples:
        said = (each.question, each.answer, tuple(passage.text for passage in each.passages))
        found.setdefault(said, each)
    if len(found) == 1 < len(examples):
        raise BadInput(
            f"All {len(examples):,} examples of {name} are the same.",
            "A model would learn nothing but to repeat one answer.",
            "Give more documents, or other examples.",
        )
    return list(found.values())


def thinned(examples: Sequence[Example], share: float, seed: int) -> list[Example]:
    """``examples`` in their order, of which at most ``share`` are unanswerable.

    Which of those stay is drawn by ``seed``. All stay when they are no more than that.
    """
    unanswerable = [at for at, example in enumerate(examples) if not example.answerable]
    most = round(share / (1 - share) * (len(examples) - len(unanswerable)))
    if len(unanswerable) <= most:
        return list(examples)
    draw = random.Random(f"{seed}:unanswerable")  # noqa: S311 - order, not secrecy
    left_out = set(draw.sample(unanswerable, len(unanswerable) - most))
    return [example for at, example in enumerate(examples) if at not in left_out]


def packs(examples: Sequence[Example], most: int) -> list[tuple[Example, ...]]:
    """Neighbouring examples that show the same passages, up to ``most`` together."""
    found: list[list[Example]] = []
    shown: tuple[str, ...] | None = None
    for example in examples:
        passages = tuple(passage.id for passage in example.passages)
        if passages == shown and len(found[-1]) < most:
            found[-1].append(example)
        else:
            found.append([example])
        shown = passages
    return [tuple(pack) for pack in found]


@dataclass
class Sampler:
    """An endless, seeded walk over ``size`` items, in a new order each time round.

    ``position`` is the whole of its state: the number of items given so far.
    """

    size: int
    seed: int
    position: int = 0
    _epoch: int = field(default=-1, init=False, repr=False)
    _order: list[int] = field(default_factory=list[int], init=False, repr=False)

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        epoch, index = divmod(self.position, self.size)
        if epoch != self._epoch:
            draw = random.Random(f"{self.seed}:{epoch}")  # noqa: S311 - order, not secrecy
            self._epoch, self._order = epoch, draw.sample(range(self.size), self.size)
        self.position += 1
        return self._order[index]
