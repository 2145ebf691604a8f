"""Which replica has read the beginning of this prompt already?

An engine keeps what it computed of the prompts that it read last, and begins a new one where the
longest common beginning ends. A prompt is known here by its beginnings: a digest of each whole
block of characters and all before it, so that two prompts share as many digests as they share
blocks. A conversation's next turn, or another question on the same passages, goes where the last
one was read, unless that replica is so much busier that reading again elsewhere is sooner done.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from undercroft.serve.pools.seat import Seat

BLOCK = 256  # characters, some 64 tokens
BLOCKS_A_SLOT = 128  # that a replica is taken to remember: 8,000 tokens, the newest
MOST_BLOCKS = 512  # of one prompt; what comes after them tells prompts apart no better

Beginnings = tuple[bytes, ...]


def beginnings(messages: Sequence[Mapping[str, Any]], prompt: str, adapter: str) -> Beginnings:
    """The digests of a conversation or a plain ``prompt``, shortest first. What one ``adapter`` has
    read is of no use to another."""
    said = prompt or "\n".join(f"{each.get('role')}\n{each.get('content')}" for each in messages)
    text = said[: BLOCK * MOST_BLOCKS].encode()
    digest, found = hashlib.blake2b(adapter.encode(), digest_size=8), []
    for start in range(0, len(text) - BLOCK + 1, BLOCK):
        digest.update(text[start : start + BLOCK])
        found.append(digest.digest())
    return tuple(found)


class Recall:
    """What a replica with so many ``slots`` has read last."""

    def __init__(self, slots: int) -> None:
        self._most = slots * BLOCKS_A_SLOT
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def note(self, read: Beginnings) -> None:
        """It reads a prompt with these beginnings."""
        for each in reversed(read):  # the shortest is the last to be forgotten
            self._known[each] = None
            self._known.move_to_end(each)
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def shared(self, asked: Beginnings) -> int:
        """Blocks at the beginning of a prompt that it has read before."""
        for number, each in enumerate(asked):
            if each not in self._known:
                return number
        return len(asked)


def choose(seats: Iterable[Seat], asked: Beginnings) -> Seat | None:
    """The seat for a prompt with these beginnings; None when none is free.

    The least busy one, or one that remembers more of the prompt and has at most half of its slots
    more in use.
    """
    free = [seat for seat in seats if seat.free > 0]
    least = max(free, key=lambda seat: seat.free, default=None)
    if least is None or not asked or len(free) == 1:
        return least
    near = [seat for seat in free if seat.active <= least.active + max(1, seat.slots // 2)]
    best = max(near, key=lambda seat: (seat.recall.shared(asked), seat.free))
    return best if best.recall.shared(asked) > least.recall.shared(asked) else least
