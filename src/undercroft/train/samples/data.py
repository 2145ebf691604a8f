"""The examples file, and the order in which training sees it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from undercroft.errors import BadInput
from undercroft.records import Example, Passage

FILE_NAME = "examples.jsonl"

_PASSAGE_FIELDS = frozenset(each.name for each in fields(Passage))
_EXAMPLE_FIELDS = frozenset(each.name for each in fields(Example))


def read_examples(folder: Path) -> list[Example]:
    """The examples in ``folder`` (one JSON object a line); raises `BadInput` naming the line."""
    path = folder / FILE_NAME
    found: list[Example] = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                found.append(_example(json.loads(line)))
            except (ValueError, TypeError, KeyError) as error:
                raise BadInput(
                    f"Line {number} of {path} is not an example.",
                    f"{type(error).__name__}: {error}.",
                    "Make the examples again with: undercroft up",
                ) from error
    if not found:
        raise BadInput(f"{path} holds no example.", do="Give more documents and run again.")
    return found


def _example(record: dict[str, Any]) -> Example:
    known = {name: value for name, value in record.items() if name in _EXAMPLE_FIELDS}
    known["passages"] = tuple(
        Passage(**{name: value for name, value in passage.items() if name in _PASSAGE_FIELDS})
        for passage in record["passages"]
    )
    known["cited"] = tuple(record["cited"])
    return Example(**known)


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
