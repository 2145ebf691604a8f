"""Candidates measured in turns, and the one to take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from undercroft.engines import DEFAULT_ENGINE, start_engine
from undercroft.engines.client import EngineClient
from undercroft.errors import EngineFailed
from undercroft.tune import fidelity, speed
from undercroft.tune.fidelity import Fidelity, Said
from undercroft.tune.kept import Kept
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
            "threads": self.candidate.threads,
            "size_bytes": self.size_bytes,
            **asdict(self.speed),
            **asdict(self.fidelity),
        }


class Bench:
    """Measures candidates on ``tasks`` against the ``parent``, whose thoughts are kept.

    What ``kept`` holds of a search that was stopped is not measured again. Raises `EngineFailed`
    when the parent does not run.
    """

    def __init__(
        self, parent: Candidate, tasks: Sequence[Task], *, context: int, threads: int, tell: Tell,
        kept: Kept | None = None,
    ) -> None:  # fmt: skip
        self.parent = parent
        self.failed: dict[str, str] = {}
        self._tasks, self._context, self._threads, self._tell = tasks, context, threads, tell
        self._kept, self._measured = Kept() if kept is None else kept, 0
        tell(0, 1, parent.name)
        self._said = self._thoughts(parent)

    def measure(self, candidates: Sequence[Candidate], rounds: int) -> list[Point]:
        """A point for each of ``candidates`` that runs; ``failed`` says why others do not.

        They take turns, ``rounds`` times, so that a machine that slows down for a while slows all
        of them.
        """
        self._measured += 1
        speeds: dict[str, list[Speed]] = {}
        for number in range(rounds):
            for place, each in enumerate(candidates):
                if each.name in self.failed:
                    continue
                self._tell(number * len(candidates) + place, rounds * len(candidates), each.name)
                turn = f"{self._measured}.{number} {each.name}"
                try:
                    speeds.setdefault(each.name, []).append(self._timed(each, turn))
                except EngineFailed as error:
                    self.failed[each.name] = str(error)
        return [
            Point(
                each,
                each.file.stat().st_size,
                speed.median(speeds[each.name]),
                fidelity.compared(self._said, self._thoughts(each.unguessed)),
            )
            for each in candidates
            if each.name not in self.failed
        ]

    def _timed(self, candidate: Candidate, turn: str) -> Speed:
        """How fast it is in this ``turn``; what it, or the same without guesses, thinks is heard
        once."""
        found = self._kept.speed(turn)
        if found is None:
            quiet = candidate.unguessed
            listens = quiet == candidate and self._kept.thoughts(quiet.name) is None
            found, thought = self._run(candidate, times=True, listens=listens)
            if listens:
                self._kept.keep_thoughts(quiet.name, thought)
            self._kept.keep_speed(turn, found)
        self._thoughts(candidate.unguessed)
        return found

    def _thoughts(self, quiet: Candidate) -> Sequence[Said]:
        """What a candidate that guesses nothing thinks, asked once."""
        known = self._kept.thoughts(quiet.name)
        if known is None:
            known = self._run(quiet, times=False, listens=True)[1]
            self._kept.keep_thoughts(quiet.name, known)
        return known

    def _run(
        self, candidate: Candidate, *, times: bool, listens: bool
    ) -> tuple[Speed, Sequence[Said]]:
        with start_engine(
            DEFAULT_ENGINE, candidate.file, context=self._context, slots=1,
            threads=candidate.threads or self._threads, tuning=candidate.engine,
        ) as engine:  # fmt: skip
            engine.wait_ready(READY_S)
            return asyncio.run(_asked(engine.base_url, self._tasks, listens, times))


def best(points: Sequence[Point], parent_perplexity: float, most: float) -> Point | None:
    """The one that answers soonest, of those whose perplexity is above the parent's by no more
    than the share ``most``; None when none is."""
    fine = [each for each in points if each.fidelity.perplexity <= parent_perplexity * (1 + most)]
    return min(fine, key=lambda each: each.speed.answer_s, default=None)


async def _asked(
    url: str, tasks: Sequence[Task], listens: bool, times: bool
) -> tuple[Speed, Sequence[Said]]:
    async with EngineClient(url) as client:
        found = await speed.measured(client, tasks) if times else Speed(0.0, 0.0, 0.0)
        return found, await fidelity.listened(client, tasks) if listens else []


def facts(points: Sequence[Point], chosen: Point | None) -> list[Mapping[str, Any]]:
    """All points as plain values, the chosen one marked."""
    return [{**each.as_dict(), "is_best": each is chosen} for each in points]
