"""The cache by meaning: an answer once given, given again to a question that asks the same.

Off by default. A question is looked for among those that were answered under the same conditions
(model, route with its index and prompt, screens, system text, sampling): the nearest by the static
embedding that the index has, and of these the first that `sense.conflict` finds nothing against. In
shadow mode nothing but the record of a request tells what would have been answered.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from undercroft.serve.caches import sense
from undercroft.serve.caches.cache import Answer, Cache
from undercroft.serve.wire.asks import Ask

if TYPE_CHECKING:
    from undercroft.retrieve.embed import Embedder, Matrix

Mode = Literal["off", "shadow", "on"]

#: Least cosine of two questions. `benchmarks.cache` chose it: none was too low for the rules of
#: `sense` there, and this leaves out what no paraphrase in the labelled set needs.
LEAST_COSINE = 0.6
#: Nearest questions that the rules are asked about.
MOST_TRIED = 4
MOST_CHARACTERS = 400  # longer questions hold more than rules for one sentence can compare
MOST_SHELVES = 64

_canonical = msgspec.json.Encoder(order="sorted")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that may be looked for: the shelf of those asked under its conditions."""

    shelf: str
    question: str
    vector: Matrix  # [dim], of length 1


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to another question that asks the same, and the id of the request it answered."""

    answer: Answer
    origin: str
    cosine: float


class Alike:
    """Of the answers in ``cache``, which questions they answered; ``entries`` for each shelf."""

    def __init__(self, mode: Mode, entries: int, cache: Cache) -> None:
        self.mode: Mode = mode if entries else "off"
        self._entries = entries
        self._cache = cache
        self._shelves: OrderedDict[str, _Shelf] = OrderedDict()

    def asked(self, ask: Ask, embedder: Embedder | None, *versions: str) -> Asked | None:
        """What to look for; None when nothing is to be: switched off, no embedding, or an answer
        that depends on more than one question."""
        if self.mode == "off" or embedder is None or not _suits(ask):
            return None
        vector = embedder.encode([ask.question])[0]
        if not vector.any():
            return None
        told = tuple(turn for turn in ask.turns if turn.role != "user")
        under = (
            ask.kind,
            told,
            ask.sampling,
            ask.max_tokens,
            ask.retrieve,
            sense.VERSION,
            versions,
        )
        shelf = hashlib.sha256(_canonical.encode(under)).hexdigest()
        return Asked(shelf, ask.question, vector)

    def find(self, asked: Asked | None) -> Found | None:
        """The answer kept for the nearest question that asks the same."""
        shelf = self._shelves.get(asked.shelf) if asked is not None else None
        if shelf is None or asked is None:
            return None
        self._shelves.move_to_end(asked.shelf)
        wanted = sense.read(asked.question)
        for place, cosine in shelf.nearest(asked.vector):
            entry = shelf.entries[place]
            answer = self._cache.peek(entry.key)
            if answer is None:  # dropped or forgotten since
                shelf.drop(place)
            elif not sense.conflict(wanted, sense.read(entry.question)):
                return Found(answer, entry.origin, cosine)
        return None

    def keep(self, asked: Asked | None, key: str | None, origin: str) -> None:
        """Remember that the cache has the answer to the question, under ``key``."""
        if asked is None or key is None:
            return
        shelf = self._shelves.get(asked.shelf)
        if shelf is None:
            shelf = self._shelves[asked.shelf] = _Shelf(self._entries, len(asked.vector))
            if len(self._shelves) > MOST_SHELVES:
                self._shelves.popitem(last=False)
        shelf.put(_Entry(asked.question, key, origin), asked.vector)

    def clear(self) -> None:
        self._shelves.clear()


@dataclass(frozen=True, slots=True)
class _Entry:
    question: str
    key: str
    origin: str


class _Shelf:
    """Questions with their ``vectors`` [places, dim]; the oldest makes room for the newest."""

    def __init__(self, most: int, dimensions: int) -> None:
        self._most = most
        self._vectors: Matrix = np.zeros((min(most, 64), dimensions), np.float32)
        self._next = 0
        self.entries: list[_Entry] = []

    def nearest(self, vector: Matrix) -> list[tuple[int, float]]:
        """Places and cosines of the nearest, nearest first."""
        cosines = self._vectors[: len(self.entries)] @ vector
        best = np.argsort(-cosines)[:MOST_TRIED] if len(cosines) <= MOST_TRIED else None
        if best is None:
            best = np.argpartition(-cosines, MOST_TRIED - 1)[:MOST_TRIED]
            best = best[np.argsort(-cosines[best])]
        return [(int(at), float(cosines[at])) for at in best if cosines[at] >= LEAST_COSINE]

    def put(self, entry: _Entry, vector: Matrix) -> None:
        if len(self.entries) < self._most:
            if len(self.entries) == len(self._vectors):
                wider = min(self._most, 2 * len(self._vectors)) - len(self._vectors)
                self._vectors = np.pad(self._vectors, ((0, wider), (0, 0)))
            self.entries.append(entry)
            self._vectors[len(self.entries) - 1] = vector
            return
        self.entries[self._next], self._vectors[self._next] = entry, vector
        self._next = (self._next + 1) % self._most

    def drop(self, place: int) -> None:
        self._vectors[place] = 0


def _suits(ask: Ask) -> bool:
    """One question, answered the same every time, without tools, media or a form."""
    return (
        ask.deterministic
        and ask.kind == "chat"
        and ask.n == 1
        and not ask.media
        and not ask.structured
        and "tools" not in ask.sampling
        and "logprobs" not in ask.sampling
        and len(ask.question) <= MOST_CHARACTERS
        and sum(turn.role == "user" for turn in ask.turns) == 1
        and all(turn.role in ("user", "system", "developer") for turn in ask.turns)
    )
