"""What workers are, and giving them work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

from undercroft.errors import UndercroftError
from undercroft.settings import ClusterSettings

Item = TypeVar("Item")
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)
Work = Callable[[Sequence[Item]], Result]


class Landing(Protocol[Result_co]):
    """Work that was handed out."""

    def result(self) -> Result_co:
        """What came of it; raises `Died`, or what the work raised."""
        ...


class Workers(Protocol):
    """Some that work can be handed to; ``ahead`` batches at once keep them all busy."""

    ahead: int

    def submit(self, work: Work[Item, Result], batch: Sequence[Item]) -> Landing[Result]: ...


class Died(Exception):
    """A worker was lost to its batch: ``code: explanation``."""


@dataclass(frozen=True, slots=True)
class Lost(Generic[Item]):
    """An item that no worker got through, and why (``code: explanation``)."""

    item: Item
    reason: str


def spread(
    workers: Workers, work: Work[Item, Result], batches: Iterable[Sequence[Item]], tries: int = 2
) -> Iterator[Result | Lost[Item]]:
    """The results of ``work`` for ``batches``, in their order; a halved batch gives several.

    ``work`` has to be a function that can be pickled. An item is given up after ``tries`` times
    alone. What is wrong with the installation (`UndercroftError`) is raised.
    """
    flying: deque[tuple[Sequence[Item], Landing[Result]]] = deque()
    for batch in batches:
        flying.append((batch, workers.submit(work, batch)))
        if len(flying) >= workers.ahead:
            yield from _landed(workers, work, *flying.popleft(), tries)
    while flying:
        yield from _landed(workers, work, *flying.popleft(), tries)


def _landed(
    workers: Workers,
    work: Work[Item, Result],
    batch: Sequence[Item],
    landing: Landing[Result],
    tries: int,
) -> Iterator[Result | Lost[Item]]:
    try:
        yield landing.result()
    except UndercroftError:
        raise
    except Exception as error:
        half = len(batch) // 2
        if half:
            for part in (batch[:half], batch[half:]):
                yield from _landed(workers, work, part, workers.submit(work, part), tries)
        elif tries > 1:
            yield from _landed(workers, work, batch, workers.submit(work, batch), tries - 1)
        else:
            yield Lost(batch[0], reason_of(error))


def reason_of(error: Exception) -> str:
    """Why an item was given up."""
    if isinstance(error, Died):
        return str(error)
    if isinstance(error, MemoryError):
        return "memory: it needs more memory than a worker may take"
    return f"error: {type(error).__name__}: {error}"[:300]


class Here:
    """This process: no start-up, and no protection from what the work does to it."""

    ahead = 1

    def submit(self, work: Work[Item, Result], batch: Sequence[Item]) -> Landing[Result]:
        future: Future[Result] = Future()
        try:
            future.set_result(work(batch))
        except Exception as error:
            future.set_exception(error)
        return future

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def hired(cluster: ClusterSettings, *, is_small: bool) -> AbstractContextManager[Workers]:
    """The workers that the settings name; a small piece of work is not worth starting any."""
    if cluster.engine == "ray":
        from undercroft.spread.on_ray import RayTasks

        return RayTasks(cluster)
    if is_small:
        return Here()
    from undercroft.spread.local import Processes

    return Processes(cluster)
