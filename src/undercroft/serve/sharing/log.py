"""What several gateways see of one trial: a log in the ledger that all of them count.

What a gateway saw in the last second goes there by the clock, whatever it is, and is counted when
it is read again, by everybody in the log's order. So a trial has one stream of pairs, however many
gateways judge it and whenever they look; and a unit that several of them met counts once.

While the ledger does not answer, each counts what it sees itself, beside what it had read. When it
answers again, what was kept is added to the log, and all of it is read anew.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Engine

from undercroft.ledger import turns
from undercroft.trials.assignment import CANARY, CONTROL
from undercroft.trials.tally import Event, Tally

log = logging.getLogger(__name__)

WITHIN_S = 2.0  # the ledger answers, or each gateway counts for itself
EVERY_S = 1.0
OF_AGE = 1e-3  # of a trial's age: how much later it may be, so that the log stays short
MOST_KEPT = 100_000  # events, while the ledger does not answer


class Batch(msgspec.Struct, array_like=True):
    """What one gateway saw in a while: requests of both arms, shadows, and what counts once."""

    canary: int = 0
    control: int = 0
    shadows: int = 0
    events: list[Event] = msgspec.field(default_factory=list[Event])

    def into(self, tally: Tally) -> None:
        """Count it."""
        tally.requests[CANARY] += self.canary
        tally.requests[CONTROL] += self.control
        tally.shadows += self.shadows
        for event in self.events:
            tally.take(event)

    def plus(self, later: Batch) -> Batch:
        """Both; of very many events the last."""
        return Batch(
            self.canary + later.canary,
            self.control + later.control,
            self.shadows + later.shadows,
            (self.events + later.events)[-MOST_KEPT:],
        )


_decode = msgspec.msgpack.Decoder(Batch).decode


@dataclass
class Log:
    """The log of one trial after another, for ``gateway``."""

    engine: Engine
    gateway: str
    is_apart: bool = field(default=True, init=False)  # the log has to be read from its beginning
    _trial: str = field(default="", init=False)
    _place: int = field(default=0, init=False)
    _seen: Batch = field(default_factory=Batch, init=False)  # since the last exchange
    _kept: Batch = field(default_factory=Batch, init=False)  # not in the log yet
    _exchange: asyncio.Task[tuple[int, list[turns.Line]]] | None = field(default=None, init=False)
    _due_at: float = field(default=0.0, init=False)

    def begin(self, trial: str) -> None:
        """Go over to ``trial``."""
        self._trial, self._place, self.is_apart = trial, 0, True
        self._seen, self._kept, self._exchange = Batch(), Batch(), None
        self._due_at = 0.0

    def saw(self, arm: str, event: Event | None) -> None:
        """A request of ``arm``; ``event`` where it counts for more than that."""
        if arm == CANARY:
            self._seen.canary += 1
        else:
            self._seen.control += 1
        if event is not None:
            self._seen.events.append(event)

    def rated(self, event: Event) -> None:
        self._seen.events.append(event)

    def shadowed(self) -> None:
        self._seen.shadows += 1

    async def count(self, tally: Tally, age_s: float) -> Tally:
        """``tally`` with what is new, if it is time in a trial of ``age_s``; it may be another one
        than before."""
        if time.monotonic() < self._due_at:
            return tally
        self._due_at = time.monotonic() + max(EVERY_S, OF_AGE * age_s)
        trial, fresh = self._trial, self._seen
        self._kept, self._seen = self._kept.plus(fresh), Batch()
        try:
            place, lines = await self._exchanged()
        except Exception as error:
            if trial == self._trial:
                self._apart(error)
                fresh.into(tally)
            return tally
        if trial != self._trial:
            return tally
        if self.is_apart and place:  # begun before: what it read is not all
            self._due_at = 0.0
            fresh.into(tally)
            return tally
        if self.is_apart:
            tally, self.is_apart = Tally(streak=tally.streak), False
        for line in lines:
            _decode(line.batch).into(tally)
            self._place = line.place
        return tally

    def _apart(self, error: Exception) -> None:
        if not self.is_apart:
            log.warning("the trial's log does not answer; counting alone: %r", error)
        self.is_apart = True

    async def _exchanged(self) -> tuple[int, list[turns.Line]]:
        """Add what is kept and read what is new, from the place that is told. Of an exchange that
        takes too long the end is awaited the next time."""
        if self._exchange is None:
            added, self._kept = self._kept, Batch()
            place = 0 if self.is_apart else self._place
            work = partial(_exchange, self.engine, self._trial, self.gateway, added, place)
            self._exchange = asyncio.create_task(asyncio.to_thread(work))
            self._exchange.add_done_callback(partial(self._failed, self._trial, added))
        exchange = self._exchange
        done, _ = await asyncio.wait({exchange}, timeout=WITHIN_S)
        if not done:
            raise TimeoutError
        if self._exchange is exchange:
            self._exchange = None
        return exchange.result()

    def _failed(self, trial: str, added: Batch, exchange: asyncio.Task[Any]) -> None:
        """What could not be added is kept."""
        if not exchange.cancelled() and exchange.exception() and trial == self._trial:
            self._kept = added.plus(self._kept)


def _exchange(
    engine: Engine, trial: str, gateway: str, added: Batch, place: int
) -> tuple[int, list[turns.Line]]:
    if added != Batch():
        turns.append(engine, trial, gateway, msgspec.msgpack.encode(added))
    return place, list(turns.after(engine, trial, place))
