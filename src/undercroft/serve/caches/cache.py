"""The exact cache: an answer once given is given again to exactly the same question.

Only answers that would come out the same are kept (temperature 0, or a seed). The key covers all
that they depend on: messages, sampling, and the versions of model, index and screens. Identical
questions that are being answered at the moment wait for that one answer (single flight). With a
`Shared` store behind it, both hold between the gateways of a project.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from undercroft.records import Passage
from undercroft.serve.wire.asks import Ask
from undercroft.serve.wire.pieces import Piece

if TYPE_CHECKING:
    from undercroft.serve.caches.shared import Shared


class Answer(msgspec.Struct, frozen=True):
    """A finished answer: all of it, screened, one piece for each of its choices, and the passages
    that it was given."""

    choices: tuple[Piece, ...]
    passages: tuple[Passage, ...] | None = None

    def reads(self, document: str) -> bool:
        """Whether ``document`` is among its passages."""
        return any(passage.document == document for passage in self.passages or ())


class Flight:
    """A question on its way: either ``answer`` is known, or we are to find and `land` it.

    ``degraded`` says that only this gateway's memory was asked, though there is a shared store;
    ``alike`` is the id of the request whose question asks the same: what ``answer`` was given to,
    or in shadow mode, without an answer, what would have been given again.
    """

    def __init__(self, answer: Answer | None = None, alike: str = "") -> None:
        self.answer = answer
        self.alike = alike
        self.degraded = False
        self.landed: Answer | None = None

    def land(self, answer: Answer) -> None:
        self.landed = answer


class Cache:
    """The ``entries`` most recently used answers, and ``shared`` behind them; with 0 nothing is
    kept or waited for."""

    def __init__(self, entries: int, shared: Shared | None = None) -> None:
        self._entries = entries
        self._shared = shared
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._flights: dict[str, asyncio.Future[Answer | None]] = {}
        self._generation = 0

    def __len__(self) -> int:
        return len(self._answers)

    @asynccontextmanager
    async def flight(self, key: str | None) -> AsyncIterator[Flight]:
        """The known answer for ``key``, or the lead of a flight that others may be waiting for.

        A lead that fails or is cancelled hands over to one of those waiting.
        """
        if key is None or not self._entries:
            yield Flight()
            return
        known = await self._find(key)
        if known is not None:
            yield Flight(known)
            return
        landing: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._flights[key] = landing
        generation, flight = self._generation, Flight()
        try:
            if self._shared is None:
                yield flight
            else:
                async with self._shared.flight(key, flight, lambda: generation == self._generation):
                    yield flight
        finally:
            if self._flights.get(key) is landing:
                del self._flights[key]
            known = flight.landed or flight.answer
            if known is not None and generation == self._generation:
                self._keep(key, known)
            landing.set_result(known)

    def peek(self, key: str) -> Answer | None:
        """The answer in memory for ``key``."""
        return self._answers.get(key)

    async def _find(self, key: str) -> Answer | None:
        """The answer kept or landing for ``key``; None when we are to lead."""
        while True:
            if key in self._answers:
                self._answers.move_to_end(key)
                return self._answers[key]
            if key not in self._flights:
                return None
            landed = await asyncio.shield(self._flights[key])
            if landed is not None:
                return landed

    def _keep(self, key: str, answer: Answer) -> None:
        self._answers[key] = answer
        while len(self._answers) > self._entries:
            self._answers.popitem(last=False)

    def forget(self, document: str) -> None:
        """Drop every answer that was given ``document`` to read.

        Answers on their way are not kept either: their passages are not known here.
        """
        self._leave_behind()
        for key in [key for key, answer in self._answers.items() if answer.reads(document)]:
            del self._answers[key]
        if self._shared is not None:
            self._shared.forget(document)

    def clear(self) -> None:
        self._leave_behind()
        self._answers.clear()

    def _leave_behind(self) -> None:
        self._generation += 1
        self._flights.clear()


_canonical = msgspec.json.Encoder(order="sorted")


def key_of(ask: Ask, *versions: str) -> str | None:
    """The cache key of ``ask`` under ``versions``; None when its answer is left to chance."""
    if not ask.deterministic:
        return None
    said = (
        ask.kind, ask.turns, ask.prompt, ask.prompts, ask.sampling, ask.max_tokens, ask.n,
        ask.retrieve, versions,
    )  # fmt: skip
    return hashlib.sha256(_canonical.encode(said)).hexdigest()
