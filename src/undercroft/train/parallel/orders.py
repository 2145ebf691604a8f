"""In which order the ranks of a pipeline go forward and back, found by playing it.

A rank does, whenever it is free, the most urgent of what it could do. Played by all with the same
rules, that gives each the same orders, in which nothing waits for what comes later: whatever the
number of micro-batches, ranks and stages, they come to an end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from typing import Final, Literal, NamedTuple

Kind = Literal["forward", "backward", "weights"]

#: Ticks of each: going back costs twice; of that, half is the gradient of the weights.
_TICKS: Final[dict[str, int]] = {"forward": 1, "backward": 2, "weights": 1}


class Action(NamedTuple):
    """``chunk`` is the number of the stage among its rank's, ``micro`` that of the micro-batch."""

    kind: Kind
    chunk: int
    micro: int


@dataclass(frozen=True, slots=True)
class Order:
    """What each rank does, and how many ticks all of it takes."""

    ranks: tuple[tuple[Action, ...], ...]
    ticks: int

    @property
    def idle(self) -> float:
        """The share of time in which a rank waits: the bubble."""
        rank = self.ranks[0]
        has_weights = any(action.kind == "weights" for action in rank)
        busy = sum(_cost(action.kind, has_weights) for action in rank)
        return 1 - busy / self.ticks


def _cost(kind: Kind, is_halved: bool) -> int:
    return 1 if kind == "backward" and is_halved else _TICKS[kind]


@lru_cache(maxsize=256)
def order(schedule: str, ranks: int, chunks: int, micros: int) -> Order:
    """The order of ``schedule`` for ``micros`` micro-batches on ``ranks`` of ``chunks`` stages.

    ``gpipe`` (Huang et al. 2019) goes forward with all first; ``1f1b`` (Narayanan et al. 2019) back
    as soon as it can, so that few micro-batches are held; ``interleaved`` is that with several
    stages a rank (Narayanan et al. 2021); ``zero_bubble`` (Qi et al. 2023, ZB-H1) leaves the
    gradients of weights for when it would wait.
    """
    game = _Game(schedule, ranks, chunks, micros)
    while not game.is_over:
        game.tick()
    return Order(tuple(tuple(each) for each in game.done), game.now)


@dataclass
class _Game:
    schedule: str
    ranks: int
    chunks: int
    micros: int
    now: int = 0
    done: list[list[Action]] = field(init=False)
    _ends: dict[tuple[Kind, int, int], int] = field(init=False, default_factory=dict)
    _free_at: list[int] = field(init=False)
    _counts: list[Counter[Kind]] = field(init=False)
    _turns: list[tuple[int, int]] = field(init=False)
    _extra: int = 0  # room that was found to be missing: the last turn is a short one

    def __post_init__(self) -> None:
        self.done = [[] for _ in range(self.ranks)]
        self._counts = [Counter() for _ in range(self.ranks)]
        self._free_at = [0] * self.ranks
        every = product(range(self.chunks), range(self.micros))
        self._turns = sorted(every, key=lambda turn: (turn[1] // self.ranks, *turn))

    @property
    def is_over(self) -> bool:
        kinds = 3 if self.schedule == "zero_bubble" else 2
        every = kinds * self.chunks * self.micros
        return all(len(d) == every for d in self.done) and self.now >= max(self._free_at)

    def tick(self) -> None:
        """Let each rank that is free begin something, if there is anything it may."""
        begun = [self._begin(rank) for rank in range(self.ranks) if self._free_at[rank] <= self.now]
        if len(begun) == self.ranks and not any(begun):
            self._extra += 1
        self.now += 1

    def _begin(self, rank: int) -> bool:
        ready = [each for each in self._next(rank) if self._can(each, rank)]
        action = min(ready, key=lambda each: self._urgency(each, rank), default=None)
        if action is None:
            return False
        cost = _cost(action.kind, self.schedule == "zero_bubble")
        self._free_at[rank] = self.now + cost
        self.done[rank].append(action)
        self._counts[rank][action.kind] += 1
        stage = action.chunk * self.ranks + rank
        self._ends[action.kind, stage, action.micro] = self._free_at[rank]
        return True

    def _next(self, rank: int) -> Iterator[Action]:
        """The next of each kind. Stages take turns, with as many micro-batches as there are ranks:
        so many are on their way from one stage of a rank to its next."""
        counts = self._counts[rank]
        kinds: tuple[Kind, ...] = ("forward", "backward")
        for kind in (*kinds, "weights") if self.schedule == "zero_bubble" else kinds:
            if counts[kind] < len(self._turns):
                chunk, micro = self._turns[counts[kind]]
                yield Action(kind, chunk if kind == "forward" else self.chunks - 1 - chunk, micro)

    def _can(self, action: Action, rank: int) -> bool:
        """Whether what it needs is there, and there is room to hold what it leaves."""
        stage = action.chunk * self.ranks + rank
        last = self.ranks * self.chunks - 1
        if action.kind == "weights":
            return self._is_past("backward", stage, action.micro)
        if action.kind == "backward":
            own = self._is_past("forward", stage, action.micro)
            return own and (stage == last or self._is_past("backward", stage + 1, action.micro))
        if stage and not self._is_past("forward", stage - 1, action.micro):
            return False
        return self._held(rank) < self._room(rank)

    def _is_past(self, kind: Kind, stage: int, micro: int) -> bool:
        return self._ends.get((kind, stage, micro), self.now + 1) <= self.now

    def _held(self, rank: int) -> int:
        """Micro-batches that went forward and not yet back, of all stages of ``rank``."""
        counts = self._counts[rank]
        return counts["forward"] - counts["backward"]

    def _room(self, rank: int) -> int:
        """How many of those there may be at once: what fills the pipeline, and no more."""
        if self.schedule == "gpipe":
            return self.micros * self.chunks
        ahead = self.ranks - rank
        if self.chunks == 1:
            return ahead + self._extra
        return 2 * (ahead - 1) + (self.chunks - 1) * self.ranks + 1 + self._extra

    def _urgency(self, action: Action, rank: int) -> int:
        """Forward while there is room, then back; weights last, unless many of them wait."""
        if action.kind != "weights":
            return 0 if action.kind == "forward" else 1
        waiting = self._counts[rank]["backward"] - self._counts[rank]["weights"]
        return -1 if waiting > self.ranks else 2
