"""The error tree keeps the promises of its docstring."""

from __future__ import annotations

import re

from undercroft import errors
from undercroft.errors import NotFound, UndercroftError

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, UndercroftError)
]


def test_the_docstring_draws_every_error_with_its_exit_code() -> None:
    drawn = errors.__doc__ or ""
    for kind in KINDS[1:]:
        line = next(line for line in drawn.splitlines() if re.search(rf"\b{kind.__name__}\b", line))
        number = re.search(rf"{kind.__name__}\s+(\d+)\s", line)
        assert number is None or int(number[1]) == kind.exit_code, line


def test_codes_are_distinct() -> None:
    assert len({kind.code for kind in KINDS}) == len(KINDS)


def test_not_found_names_the_nearest() -> None:
    error = NotFound("There is no model 'dcos'.", "dcos", ["docs", "zebra"])
    assert "nearest names are docs" in str(error)
    assert error.as_dict()["do"] == "See what there is with: undercroft ls"
