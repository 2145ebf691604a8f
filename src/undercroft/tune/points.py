"""Every candidate measured, and the one to take."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from undercroft.engines import DEFAULT_ENGINE, start_engine
from undercroft.engines.client import EngineClient
from undercroft.errors import EngineFailed
from undercroft.tune import fidelity, speed
from undercroft.tune.fidelity import Fidelity, Said
from undercroft.tune.speed import Speed
from undercroft.tune.work import Candidate, Task

READY_S = 120.0

Tell = Callable[[int, int, str], None]
"""Told how many measurements are done, of how many, and of which candidate."""


@dataclass(frozen=True, slots=True)
class Point:
    """One candidate: size, speed (the median of the rounds) and fidelity to the parent."""

    candidate: Candidate
    size_bytes: int
    speed: Speed
    fidelity: Fidelity

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.candidate.name,
            "format": self.candidate.format,
            "engine": self.candidate.engine.model_dump(),
            "size_bytes": self.size_bytes,
            **asdict(self.speed),
            **asdict(self.fidelity),
        }


def measure(
    candidates: Sequence[Candidate],
    parent: Candidate,
    tasks: Sequence[Task],
    *,
    context: int,
    threads: int,
    rounds: int,
    tell: Tell,
) -> tuple[list[Point], dict[str, str]]:
    """A point for each of ``candidates``, against ``parent``; and, by name, why some have none.

    Candidates take turns, ``rounds`` times, so that a machine that slows down for a while slows all
    of them. One that does not run is left out. Raises `EngineFailed` when the parent does not run.
    """
    total = 1 + len(candidates) * rounds
    tell(0, total, parent.name)
    said = _run(parent, tasks, context, threads, times=False, listens=True)[1]
    speeds: dict[str, list[Speed]] = {}
    heard: dict[str, list[Said]] = {}
    failed: dict[str, str] = {}
    for number in range(rounds):
        for place, each in enumerate(candidates):
            if each.name in failed:
                continue
            tell(1 + number * len(candidates) + place, total, each.name)
            try:
                found, thought = _run(each, tasks, context, threads, times=True, listens=not number)
            except EngineFailed as error:
                failed[each.name] = str(error)
                continue
            speeds.setdefault(each.name, []).append(found)
            heard.setdefault(each.name, thought)
    tell(total, total, "")
    points = [
        Point(
            each,
            each.file.stat().st_size,
            _median(speeds[each.name]),
            fidelity.compared(said, heard[each.name]),
        )
        for each in candidates
        if each.name not in failed
    ]
    return points, failed


def best(points: Sequence[Point], parent_perplexity: float, most: float) -> Point | None:
    """The one that writes answers fastest, of those whose perplexity is above the parent's by no
    more than the share ``most``; None when none is."""
    fine = [each for each in points if each.fidelity.perplexity <= parent_perplexity * (1 + most)]
    return max(fine, key=lambda each: each.speed.decode, default=None)


def _run(
    candidate: Candidate,
    tasks: Sequence[Task],
    context: int,
    threads: int,
    *,
    listens: bool,
    times: bool,
) -> tuple[Speed, list[Said]]:
    with start_engine(
        DEFAULT_ENGINE, candidate.file, context=context, slots=1, threads=threads,
        tuning=candidate.engine,
    ) as engine:  # fmt: skip
        engine.wait_ready(READY_S)
        return asyncio.run(_asked(engine.base_url, tasks, listens, times))


async def _asked(
    url: str, tasks: Sequence[Task], listens: bool, times: bool
) -> tuple[Speed, list[Said]]:
    async with EngineClient(url) as client:
        found = await speed.measured(client, tasks) if times else Speed(0.0, 0.0)
        return found, await fidelity.listened(client, tasks) if listens else []


def _median(speeds: Sequence[Speed]) -> Speed:
    return Speed(
        statistics.median(each.prefill for each in speeds),
        statistics.median(each.decode for each in speeds),
    )


def facts(points: Sequence[Point], chosen: Point | None) -> list[Mapping[str, Any]]:
    """All points as plain values, the chosen one marked."""
    return [{**each.as_dict(), "is_best": each is chosen} for each in points]
