"""The suite's file -> cases."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from undercroft.errors import BadInput
from undercroft.records import Example, Passage


def read_suite(path: Path) -> list[Example]:
    """The cases of a suite: one JSON object a line, in a file or in the folder's only one.

    Raises `BadInput` when there is no case or a line is not one.
    """
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    cases = [_case(file, line) for file in files for line in _lines(file)]
    if not cases:
        raise BadInput(
            f"The suite at {path} has no cases.", "There is nothing to judge a model by."
        )
    return cases


def _lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8") as stream:
        yield from (line for line in stream if line.strip())


def _case(file: Path, line: str) -> Example:
    try:
        row: Mapping[str, Any] = json.loads(line)
        passages = tuple(Passage(**passage) for passage in row["passages"])
        return Example(**{**row, "passages": passages, "cited": tuple(row["cited"])})
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{file} holds a line that is not a case.", f"{error}.") from error
