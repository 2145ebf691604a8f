"""What a teacher would say at every target of a sample: its likeliest tokens, kept in files.

    part-00000.safetensors   some samples: tokens (A, K), log-probabilities (A, K), the rest's (A)
    lessons.json             what they are, and how many; written last

A sample is known by its content (`key`), so that what is looked up is of just what is read, in
whatever order and by how many processes. Parts are mapped, not read: the teacher is not in memory
while a student learns, nor is what it said.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from undercroft.errors import BadInput

FACTS_FILE: Final = "lessons.json"
_PARTS: Final = "part-*.safetensors"
_PART_BYTES: Final = 64_000_000


class Lesson(NamedTuple):
    """Of each of A targets the K likeliest tokens (int32), the logarithms of their probabilities,
    and of that of all other tokens together (float32)."""

    tokens_ak: Tensor
    log_probs_ak: Tensor
    log_rest_a: Tensor


def key(tensors: Mapping[str, Tensor]) -> str:
    """The name of a sample whose batch has these ``tensors``."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        digest.update(name.encode() + b"\0" + tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


class Notebook:
    """Lessons being written to ``folder``; what an earlier attempt wrote whole is kept.

    Damaged parts are removed, so that what was in them is asked again.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._known = set(_index(folder, drop_damaged=True))
        taken = [int(path.stem.partition("-")[2]) for path in folder.glob(_PARTS)]
        self._number = max(taken, default=-1) + 1
        self._page: dict[str, Lesson] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def add(self, name: str, lesson: Lesson) -> None:
        self._known.add(name)
        self._page[name] = lesson
        self._bytes += sum(each.nbytes for each in lesson)
        if self._bytes >= _PART_BYTES:
            self._turn()

    def close(self, facts: Mapping[str, Any]) -> None:
        """Write what is left, and ``facts`` about all of it."""
        if self._page:
            self._turn()
        half = self._folder / "lessons.half"
        half.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        half.rename(self._folder / FACTS_FILE)

    def _turn(self) -> None:
        joined = Lesson(*(torch.cat(each) for each in zip(*self._page.values(), strict=True)))
        sizes = {name: len(lesson.log_rest_a) for name, lesson in self._page.items()}
        half = self._folder / "part.half"
        save_file(joined._asdict(), half, metadata={"samples": json.dumps(sizes)})
        half.rename(self._folder / f"part-{self._number:05d}.safetensors")
        self._number += 1
        self._page, self._bytes = {}, 0


class Lessons:
    """The lessons in ``folder``; raises `BadInput` for a folder without them."""

    def __init__(self, folder: Path) -> None:
        try:
            text = (folder / FACTS_FILE).read_text(encoding="utf-8")
            self.facts: dict[str, Any] = json.loads(text)
            self._where = _index(folder)
        except Exception as error:
            raise BadInput(
                f"There are no lessons of a teacher in {folder}.",
                f"{type(error).__name__}: {error}.",
                "Have them made again with: undercroft distil",
            ) from error

    def __len__(self) -> int:
        return len(self._where)

    def of(self, name: str) -> Lesson:
        """Raises `BadInput` for a sample that the teacher was not shown."""
        if name not in self._where:
            raise BadInput(
                "The teacher was not shown a sample that the student is to learn from.",
                "Its lessons are of other samples, or of samples put together otherwise.",
                "Have them made again with: undercroft distil",
            )
        path, start, stop = self._where[name]
        with safe_open(path, framework="pt") as part:
            return Lesson(*(part.get_slice(each)[start:stop] for each in Lesson._fields))


def _index(folder: Path, *, drop_damaged: bool = False) -> dict[str, tuple[Path, int, int]]:
    """Where each sample's targets stand: the part, the first and the one after the last."""
    found: dict[str, tuple[Path, int, int]] = {}
    for path in sorted(folder.glob(_PARTS)):
        try:
            with safe_open(path, framework="pt") as part:
                sizes: dict[str, int] = json.loads(part.metadata()["samples"])
        except (SafetensorError, OSError, ValueError, KeyError, TypeError):
            if not drop_damaged:
                raise
            path.unlink()
            continue
        at = 0
        for name, size in sizes.items():
            found[name] = (path, at, at + size)
            at += size
    return found
