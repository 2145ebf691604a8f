"""Which candidates are worth measuring: formats first, then ways to compute, then what helped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from undercroft.settings import EngineSettings
from undercroft.tune.points import Bench, Point, best
from undercroft.tune.work import Candidate

Build = Literal["auto", "wheel", "native"]

#: A way to compute is kept when it answers sooner by more than this share; less is noise.
HELPS = 0.02
SMALL_BATCH, LARGE_BATCH = 128, 2048


@dataclass(frozen=True, slots=True)
class Outcome:
    """All points, in the order of speed; the ``parent``'s, the ``best`` one, and the one that
    the others are measured by (``before``: the format that is served now, on the wheel)."""

    points: Sequence[Point]
    parent: Point
    best: Point | None
    before: Point | None
    failed: Mapping[str, str]


def search(
    bench: Bench,
    files: Mapping[str, Path],
    *,
    builds: Sequence[Build],
    cores: int,
    served: str,
    draft: str,
    rounds: int,
    most: float,
) -> Outcome:
    """Measure each of ``files`` (format -> GGUF) on each of ``builds``, then the best of them in
    other ways, then all ways that helped together, and last the finalists in turn.

    ``draft`` is a file whose model may guess, or empty; ``served`` is the format served now;
    ``most`` is the share by which the perplexity may grow.
    """
    plain = [
        Candidate(name, file, EngineSettings(build=build))
        for name, file in files.items()
        for build in builds
    ]
    first = [bench.parent, *(each for each in plain if each != bench.parent)]
    points = {each.candidate.name: each for each in bench.measure(first, 1)}
    parent = points[bench.parent.name]
    leader = best(list(points.values()), parent.fidelity.perplexity, most)
    if leader is not None:
        ways = _ways(leader.candidate, cores, draft)
        found = bench.measure([leader.candidate, *ways], 1)
        points |= {each.candidate.name: each for each in found}
        finalists = _finalists(found, leader.candidate)
        before = next(
            (each for each in plain if each.format == served and each.engine.build != "native"),
            leader.candidate,
        )
        last = {each.name: each for each in (before, leader.candidate, *finalists)}
        points |= {each.candidate.name: each for each in bench.measure(list(last.values()), rounds)}
        final = [points[name] for name in last if name in points]
        return Outcome(
            sorted(points.values(), key=lambda each: each.speed.answer_s),
            parent,
            best(final, parent.fidelity.perplexity, most),
            points.get(before.name),
            bench.failed,
        )
    ordered = sorted(points.values(), key=lambda each: each.speed.answer_s)
    return Outcome(ordered, parent, None, None, bench.failed)


def _ways(leader: Candidate, cores: int, draft: str) -> Sequence[Candidate]:
    """``leader`` computed otherwise, in one respect each."""
    changes: list[dict[str, Any]] = [
        {"speculation": "ngram"},
        {"kv_cache": "q8_0"},
        {"flash_attention": False},
        {"prompt_batch": SMALL_BATCH},
        {"prompt_batch": LARGE_BATCH},
    ]
    if draft:
        changes.append({"speculation": "draft", "draft": draft})
    ways = [replace(leader, engine=leader.engine.model_copy(update=change)) for change in changes]
    fewer = {max(1, cores // 2), max(1, cores - 1)} - {cores}
    return [*ways, *(replace(leader, threads=count) for count in sorted(fewer))]


def _finalists(found: Sequence[Point], leader: Candidate) -> Sequence[Candidate]:
    """What answers sooner than the ``leader``, the best first, and the two best together."""
    usual = next((each for each in found if each.candidate == leader), None)
    if usual is None:
        return []
    helps = [
        each.candidate
        for each in sorted(found, key=lambda each: each.speed.answer_s)
        if each.speed.answer_s < usual.speed.answer_s * (1 - HELPS)
    ]
    if len(helps) > 1:
        return [*helps[:2], _both(leader, helps[0], helps[1])]
    return helps


def _both(leader: Candidate, one: Candidate, other: Candidate) -> Candidate:
    """What ``one`` and ``other`` changed of the ``leader``, ``one`` before the other."""
    settings = other.engine.model_dump(exclude_defaults=True)
    settings |= one.engine.model_dump(exclude_defaults=True)
    if settings.get("kv_cache") == "q8_0":
        settings.pop("flash_attention", None)  # llama.cpp has no other way to read such a cache
    threads = one.threads if one.threads != leader.threads else other.threads
    return replace(leader, engine=EngineSettings(**settings), threads=threads)
