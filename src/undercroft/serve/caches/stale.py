"""Answers that a newer model, index or prompt has overtaken: the last resort before an error.

The cache forgets them, since its keys name all versions; here a question alone is the key. Only
what the cache may keep is kept, and nothing is found that was read from a document erased since.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Container

import msgspec

from undercroft.serve.caches.cache import Answer
from undercroft.serve.wire.asks import Ask

_canonical = msgspec.json.Encoder(order="sorted")


class Stale:
    """The ``entries`` answers kept last; with 0 there are none. ``adapter`` is that of the model:
    what was learnt for one tenant is not told to another."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()

    def keep(self, ask: Ask, adapter: str, answer: Answer) -> None:
        if not self._entries or not ask.deterministic:
            return
        key = _key(ask, adapter)
        self._answers[key] = answer
        self._answers.move_to_end(key)
        if len(self._answers) > self._entries:
            self._answers.popitem(last=False)

    def find(self, ask: Ask, adapter: str, erased: Container[str]) -> Answer | None:
        answer = self._answers.get(_key(ask, adapter)) if ask.deterministic else None
        if answer is None or any(each.document in erased for each in answer.passages or ()):
            return None
        return answer


def _key(ask: Ask, adapter: str) -> bytes:
    said = (
        ask.kind, ask.model, ask.turns, ask.prompt, ask.prompts, ask.sampling, ask.n, ask.retrieve,
        adapter,
    )  # fmt: skip
    return hashlib.sha256(_canonical.encode(said)).digest()
