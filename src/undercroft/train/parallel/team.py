"""The processes that train one model together, each on its share of every step's samples.

All hold the whole model. What they share is small but for the gradients: what each drew, and sums.
Each hears the same numbers, so each decides the same; what depends on a clock the first one decides
for all.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Team(Protocol):
    """``size`` processes, of which this is number ``rank``; every method is called by all."""

    rank: int
    size: int

    def gather(self, mine: T) -> list[T]:
        """What each gave, by rank."""
        ...

    def from_first(self, mine: T) -> T:
        """What rank 0 gave."""
        ...

    def add(self, tensors: list[Tensor]) -> None:
        """Put the sum over all ranks into each of ``tensors``, which are of one type."""
        ...

    def copy_first(self, tensors: list[Tensor]) -> None:
        """Put what rank 0 holds into ``tensors``."""
        ...

    def join(self, mine: Tensor, num_rows: int) -> Tensor:
        """The rows that all ranks hold, one after the other: ``num_rows``, in even shares."""
        ...


class Alone:
    """A team of one."""

    rank = 0
    size = 1

    def gather(self, mine: T) -> list[T]:
        return [mine]

    def from_first(self, mine: T) -> T:
        return mine

    def add(self, tensors: list[Tensor]) -> None: ...
    def copy_first(self, tensors: list[Tensor]) -> None: ...

    def join(self, mine: Tensor, num_rows: int) -> Tensor:  # noqa: ARG002
        return mine


class Processes:
    """The processes that `torchrun` started, over torch.distributed; gloo on CPUs.

    The group must have been made, by ``torch.distributed.init_process_group``.
    """

    def __init__(self) -> None:
        from torch import distributed

        self._distributed = distributed
        self.rank = distributed.get_rank()
        self.size = distributed.get_world_size()

    def gather(self, mine: T) -> list[T]:
        found: list[Any] = [None] * self.size
        self._distributed.all_gather_object(found, mine)
        return found

    def from_first(self, mine: T) -> T:
        box: list[Any] = [mine]
        self._distributed.broadcast_object_list(box, src=0)
        found: T = box[0]
        return found

    def add(self, tensors: list[Tensor]) -> None:
        """In one message: many small ones would each wait for all ranks."""
        whole = torch.cat([tensor.reshape(-1) for tensor in tensors])
        self._distributed.all_reduce(whole)
        parts = whole.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def copy_first(self, tensors: list[Tensor]) -> None:
        for tensor in tensors:
            self._distributed.broadcast(tensor, src=0)

    def join(self, mine: Tensor, num_rows: int) -> Tensor:
        each = -(-num_rows // self.size)
        filled = mine.new_zeros((each, *mine.shape[1:]))
        filled[: len(mine)] = mine
        found = [torch.empty_like(filled) for _ in range(self.size)]
        self._distributed.all_gather(found, filled)
        return torch.cat(found)[:num_rows]


def team() -> Team:
    """All processes of torch's group, if there is one; else this one alone."""
    from torch import distributed

    is_group = distributed.is_available() and distributed.is_initialized()
    return Processes() if is_group else Alone()
