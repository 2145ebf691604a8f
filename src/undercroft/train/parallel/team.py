"""The processes that train one model together, and the groups of them that share something.

Each hears the same numbers, so each decides the same; what depends on a clock the first one decides
for all. Ranks that read different samples are a `Team`'s ``data``; the others hold parts of one
model, and read what their data rank reads.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NoReturn, Protocol, TypeVar

import torch
from torch import Tensor

from undercroft.train.parallel.device import CPU
from undercroft.train.parallel.plan import Plan

T = TypeVar("T")

_MESSAGE: Final = 2**22  # numbers that are sent at once


class Group(Protocol):
    """``size`` processes, of which this is number ``rank``; every method is called by all."""

    rank: int
    size: int

    def gather(self, mine: T) -> list[T]:
        """What each gave, by rank."""
        ...

    def from_first(self, mine: T) -> T:
        """What rank 0 gave."""
        ...

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over all ranks into each of ``tensors``, which are of one type."""
        ...

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Put what rank 0 holds into ``tensors``."""
        ...

    def join(self, mine: Tensor, num_rows: int) -> Tensor:
        """The rows that all ranks hold, one after the other: ``num_rows``, in even shares."""
        ...

    def sum_rows(self, whole: Tensor) -> Tensor:
        """Of the sum over all ranks the rows that are this one's share."""
        ...

    def send(self, tensor: Tensor, to: int, tag: int) -> Callable[[], Any]:
        """Begin to send; what is given back waits until ``tensor`` may be changed."""
        ...

    def receive(self, tensor: Tensor, source: int, tag: int) -> None:
        """Fill ``tensor`` with what ``source`` sends under ``tag``."""
        ...


def share(num_rows: int, group: Group) -> slice:
    """Which of ``num_rows`` are this rank's: the last ranks may have fewer, or none."""
    each = -(-num_rows // group.size)
    first = min(group.rank * each, num_rows)
    return slice(first, min(first + each, num_rows))


class Team(Group, Protocol):
    """All processes, and this one's place among them.

    ``data`` are those that hold the same part and read other samples, ``shard`` those among them
    that hold its other rows; ``tensor`` and ``pipeline`` those that hold the other parts, and
    ``ends`` the first and last of the pipeline.
    """

    plan: Plan
    device: torch.device
    data: Group
    shard: Group
    tensor: Group
    pipeline: Group
    ends: Group

    def mesh(self) -> Any:
        """Torch's mesh (replicate, shard) of ``data``."""
        ...

    def apart(self) -> Group:
        """The same processes over connections of their own, for use by another thread."""
        ...


class Single:
    """A group of one."""

    rank = 0
    size = 1

    def gather(self, mine: T) -> list[T]:
        return [mine]

    def from_first(self, mine: T) -> T:
        return mine

    def add(self, tensors: Sequence[Tensor]) -> None: ...
    def copy_first(self, tensors: Sequence[Tensor]) -> None: ...

    def join(self, mine: Tensor, num_rows: int) -> Tensor:  # noqa: ARG002
        return mine

    def sum_rows(self, whole: Tensor) -> Tensor:
        return whole

    def send(self, tensor: Tensor, to: int, tag: int) -> Callable[[], Any]:
        raise NotImplementedError("one process has nobody to send to")

    def receive(self, tensor: Tensor, source: int, tag: int) -> None:
        raise NotImplementedError("one process has nobody to hear from")


class Alone(Single):
    """A team of one."""

    def __init__(self, device: torch.device = CPU) -> None:
        self.plan = Plan()
        self.device = device
        one: Group = Single()
        self.data = self.shard = self.tensor = self.pipeline = self.ends = one

    def mesh(self) -> Any:
        raise NotImplementedError("one process needs no mesh")

    def apart(self) -> Group:
        return Single()


at_meetings: list[Callable[[], None]] = []
"""What is called whenever this process comes to where all of a group wait for each other."""


def _meet() -> None:
    for each in at_meetings:
        each()


class Linked:
    """A group over torch.distributed; gloo on CPUs, NCCL for what lies on other devices."""

    def __init__(self, group: Any) -> None:
        from torch import distributed

        self._distributed = distributed
        self._group = group
        self._ranks = distributed.get_process_group_ranks(group)
        self.rank = distributed.get_rank(group)
        self.size = len(self._ranks)

    def gather(self, mine: T) -> list[T]:
        _meet()
        found: list[Any] = [None] * self.size
        self._distributed.all_gather_object(found, mine, group=self._group)
        return found

    def from_first(self, mine: T) -> T:
        _meet()
        box: list[Any] = [mine]
        self._distributed.broadcast_object_list(box, src=self._ranks[0], group=self._group)
        found: T = box[0]
        return found

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Many small ones in one message, as each would wait for all ranks; large ones as they
        are, as a copy would take their memory again."""
        _meet()
        for few in _messages(tensors):
            if len(few) == 1 and few[0].is_contiguous():
                self._distributed.all_reduce(few[0], group=self._group)
                continue
            whole = torch.cat([tensor.reshape(-1) for tensor in few])
            self._distributed.all_reduce(whole, group=self._group)
            parts = whole.split([tensor.numel() for tensor in few])
            for tensor, part in zip(few, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            self._distributed.broadcast(tensor, src=self._ranks[0], group=self._group)

    def join(self, mine: Tensor, num_rows: int) -> Tensor:
        """Messages are of one size, so what is missing is filled up."""
        filled = mine.new_zeros((-(-num_rows // self.size), *mine.shape[1:]))
        filled[: len(mine)] = mine
        found = [torch.empty_like(filled) for _ in range(self.size)]
        self._distributed.all_gather(found, filled, group=self._group)
        return torch.cat(found)[:num_rows]

    def sum_rows(self, whole: Tensor) -> Tensor:
        """Gloo scatters a sum by summing all of it on every rank, too."""
        total = whole.contiguous().clone()
        self._distributed.all_reduce(total, group=self._group)
        return total[share(len(whole), self)]

    def send(self, tensor: Tensor, to: int, tag: int) -> Callable[[], Any]:
        """By way of the host: NCCL knows no tags, and would have both ends of a pipeline wait for
        the other to receive first."""
        sent = tensor.cpu()
        work = self._distributed.isend(sent, self._ranks[to], group=self._group, tag=tag)
        assert work is not None
        wait: Callable[[], Any] = work.wait
        return wait

    def receive(self, tensor: Tensor, source: int, tag: int) -> None:
        found = tensor if tensor.device.type == "cpu" else torch.empty_like(tensor, device="cpu")
        self._distributed.recv(found, self._ranks[source], group=self._group, tag=tag)
        if found is not tensor:
            tensor.copy_(found)


class Processes(Linked):
    """The processes that `torchrun` started, laid out as ``plan``, each on its ``device``.

    The group must have been made, by ``torch.distributed.init_process_group``, and be as large as
    the plan.
    """

    def __init__(self, plan: Plan, device: torch.device = CPU) -> None:
        from torch import distributed
        from torch.distributed.device_mesh import init_device_mesh

        super().__init__(distributed.group.WORLD)
        self.plan = plan
        self.device = device
        names = ("pipeline", "replicate", "shard", "tensor")
        sizes = (plan.pipeline, plan.replicate, plan.shard, plan.tensor)
        self._mesh = init_device_mesh(device.type, sizes, mesh_dim_names=names)
        self.tensor = _linked(self._mesh.get_group("tensor"))
        self.pipeline = _linked(self._mesh.get_group("pipeline"))
        self.shard = _linked(self._mesh.get_group("shard"))
        self.data = self._grouped(
            tuple(
                tuple((p * plan.data + d) * plan.tensor + t for d in range(plan.data))
                for p in range(plan.pipeline)
                for t in range(plan.tensor)
            )
        )
        column = plan.data * plan.tensor
        last = (plan.pipeline - 1) * column
        self.ends = self._grouped(tuple((at, at + last) for at in range(column)) if last else ())

    def _grouped(self, ranks: tuple[tuple[int, ...], ...]) -> Group:
        """The one of the groups of ``ranks`` that this process is in; all make all of them."""
        mine: Group = Single()
        for each in ranks:
            if len(each) == self.size:
                return Linked(self._group)
            if len(each) > 1:
                made = self._distributed.new_group(list(each))
                if self._distributed.get_rank() in each:
                    mine = Linked(made)
        return mine

    def mesh(self) -> Any:
        return self._mesh["replicate", "shard"]

    def apart(self) -> Group:
        return Linked(self._distributed.new_group(list(range(self.size)), backend="gloo"))


def _messages(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """``tensors`` in their order, as many at once as are of `_MESSAGE` numbers together."""
    few: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if few and size + tensor.numel() > _MESSAGE:
            yield few
            few, size = [], 0
        few.append(tensor)
        size += tensor.numel()
    if few:
        yield few


def _linked(group: Any) -> Group:
    made = Linked(group)
    return made if made.size > 1 else Single()


def team(plan: Plan | None = None, device: torch.device = CPU) -> Team:
    """All processes of torch's group, if there is one, as ``plan`` or as copies; else this one."""
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return Alone(device)
    return Processes(plan or Plan(distributed.get_world_size()), device)


def leave(code: int = 0) -> NoReturn:
    """End a rank: its group first, then the process, at once.

    What torch tears down when an interpreter ends aborted now and then once weights had been spread
    over processes (torch 2.13, gloo).
    """
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
