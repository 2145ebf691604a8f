"""A stream of text, masked as it goes.

`StreamScreen` gives exactly what `mask` gives on the whole text, for every way of cutting the
text into pieces: it passes on the units (`units`) that nothing later can change and holds back
the rest. In prose that is the word being written; at most it is the longest private key.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

from undercroft.detect import pii, secrets, units
from undercroft.detect.disguises import Reading, reading
from undercroft.detect.masking import is_of, replace, spans
from undercroft.detect.rules import Rule, find_in_units, may_hold, placed
from undercroft.records import Finding


@cache
def _rules_of(kinds: tuple[str, ...]) -> tuple[Rule, ...]:
    return tuple(rule for rule in (*pii.RULES, *secrets.RULES) if is_of(rule.kind, kinds))


class StreamScreen:
    """Masks the findings of ``kinds`` in a text that comes in pieces.

    ``findings`` are those masked so far, at their places in the text as it came in.
    """

    def __init__(self, kinds: Collection[str]) -> None:
        self._kinds = tuple(kinds)
        self._rules = _rules_of(self._kinds)
        self._held = ""
        self._passed = 0  # characters of the text before `_held`
        self._going_on: Finding | None = None
        self._last_label = ""  # of a span that ends exactly where `_held` begins
        self.findings: list[Finding] = []

    def feed(self, piece: str) -> str:
        """Take the next piece; return what can be shown by now."""
        if not self._rules:
            return piece
        text = self._held + piece
        read = reading(text)
        pieces, rest = units.settled(read.text)
        if not rest:
            self._held = text
            return ""
        done = read.start(rest)
        self._held = text[done:]
        return self._screened(text[:done], read._replace(text=read.text[:rest]), pieces)

    def flush(self, piece: str = "") -> str:
        """The rest, when the text has ended with ``piece``."""
        text, self._held = self._held + piece, ""
        return self._screened(text, reading(text)) if text and self._rules else text

    def _screened(self, text: str, read: Reading, pieces: list[units.Unit] | None = None) -> str:
        """What of ``text``, which ``read`` is how it reads, can be shown; ``pieces`` are its units,
        if they are known."""
        if self._going_on is None and not may_hold(read.text):
            self._last_label = ""
            self._passed += len(text)
            return text
        if pieces is None:
            pieces = units.split(read.text)
        found, going_on = find_in_units(read.text, pieces, self._rules, self._going_on)
        self._going_on = going_on if pieces and pieces[-1].end == len(read.text) else None
        found = placed(found, read)
        masked = spans(found, self._kinds)
        if masked and masked[0].start == 0 and masked[0].label == self._last_label:
            masked[0] = masked[0]._replace(label="")  # the same span goes on: named already
        shown = replace(text, masked)
        if masked:
            ends_here = masked[-1].end == len(text)
            first_goes_on = len(masked) == 1 and not masked[0].label
            label = self._last_label if first_goes_on else masked[-1].label
            self._last_label = label if ends_here else ""
        else:
            self._last_label = ""
        self.findings += [
            Finding(f.kind, f.start + self._passed, f.end + self._passed, f.score, f.rule)
            for f in found
        ]
        self._passed += len(text)
        return shown
