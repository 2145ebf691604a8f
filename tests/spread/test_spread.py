"""Workers may die of an item; all others get their results, in order."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

import pytest

from undercroft.errors import MissingExtra, UndercroftError
from undercroft.settings import ClusterSettings
from undercroft.spread import Here, Lost, Workers, hired, spread

LIMITS = ClusterSettings(processes=2, task_seconds=2, task_memory_mb=800)


def doubled(batch: Sequence[object]) -> list[object]:
    """Twice each number; what is not a number does something bad."""
    return [_of(item) for item in batch]


def _of(item: object) -> object:
    if item == "die":
        os._exit(9)
    if item == "hang":
        time.sleep(60)
    if item == "grow":
        return len(bytearray(10**10))
    if item == "raise":
        raise ValueError("no")
    if item == "missing":
        raise MissingExtra("trafilatura", "data")
    assert isinstance(item, int)
    return 2 * item


@pytest.fixture(scope="module")
def processes() -> Iterator[Workers]:
    with hired(LIMITS, is_small=False) as workers:
        yield workers


def results(workers: Workers, batches: list[list[object]]) -> list[object]:
    found: list[object] = []
    for each in spread(workers, doubled, batches):
        found += [(each.item, each.reason)] if isinstance(each, Lost) else each
    return found


def test_results_come_in_the_order_of_the_batches(processes: Workers) -> None:
    batches = [[n, n + 1] for n in range(0, 40, 2)]
    assert results(processes, batches) == [2 * n for n in range(40)]
    assert results(Here(), batches) == [2 * n for n in range(40)]


def test_an_item_that_kills_its_worker_is_given_up_and_no_other(processes: Workers) -> None:
    found = results(processes, [[1, 2, "die", 3], [4]])
    assert found == [2, 4, ("die", "killed: its worker died with exit code 9"), 6, 8]


def test_an_item_that_takes_too_long_is_given_up(processes: Workers) -> None:
    found = results(processes, [[1, "hang"], [2]])
    assert found == [2, ("hang", "timeout: it takes more than 2 s"), 4]


def test_an_item_that_needs_too_much_memory_is_given_up(processes: Workers) -> None:
    found = results(processes, [["grow", 1]])
    assert found == [("grow", "memory: it needs more memory than a worker may take"), 2]


def test_an_item_that_cannot_be_worked_is_given_up(processes: Workers) -> None:
    for workers in (processes, Here()):
        assert results(workers, [["raise", 1]]) == [("raise", "error: ValueError: no"), 2]


def test_a_missing_library_is_no_fault_of_the_item(processes: Workers) -> None:
    for workers in (processes, Here()):
        with pytest.raises(UndercroftError, match=r"undercroft\[data\]"):
            results(workers, [["missing"]])
