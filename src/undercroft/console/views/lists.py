"""Pages of longer lists, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

PAGE_SIZE = 50


@dataclass(frozen=True)
class Paged(Generic[T]):
    """One page of a longer list; ``page`` counts from 1.

    ``total`` is None where counting would cost more than it tells; ``more`` then says whether
    another page follows.
    """

    rows: Sequence[T]
    total: int | None
    page: int
    size: int = PAGE_SIZE
    more: bool = False

    @property
    def first(self) -> int:
        return (self.page - 1) * self.size + 1

    @property
    def last(self) -> int:
        return self.first + len(self.rows) - 1

    @property
    def follows(self) -> bool:
        """Whether there is a page after this one."""
        return self.more if self.total is None else self.last < self.total


def one_more(rows: Sequence[T], page: int, size: int = PAGE_SIZE) -> Paged[T]:
    """A page from rows that were asked for with one more than fits."""
    return Paged(rows[:size], None, page, size, more=len(rows) > size)
