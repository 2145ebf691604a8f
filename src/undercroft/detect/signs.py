"""Literals that tell of something, found in one pass over a text however many they are.

The automaton is Aho and Corasick's (1975). Case is folded one character to one, so that places in
the folded text are places in the text; of letters that `re.IGNORECASE` takes for one another, one
stands for all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Final

from ahocorasick_rs import AhoCorasick, Implementation

#: What `str.lower` leaves apart, or makes two characters of, of the letters that literals have:
#: dotted and dotless i, the long s, the micro sign, the kappa symbol.
_ALIKE: Final = {
    "\u0130": "i",
    "\u0131": "i",
    "\u017f": "s",
    "\u00b5": "\u03bc",
    "\u03f0": "\u03ba",
}


def folded(text: str) -> str:
    """``text`` in lower case, each character where it was."""
    if not text.isascii():
        for letter, plain in _ALIKE.items():
            text = text.replace(letter, plain)
    return text.lower()


class Signs:
    """The literals of several owners, folded; an owner is known by its number."""

    def __init__(self, owners: Sequence[Collection[str]]) -> None:
        by_literal: dict[str, list[int]] = defaultdict(list)
        for number, literals in enumerate(owners):
            for literal in literals:
                by_literal[literal].append(number)
        self._owners = list(by_literal.values())
        self._automaton = AhoCorasick(list(by_literal), implementation=Implementation.DFA)

    def places(self, folded_text: str) -> dict[int, list[int]]:
        """Where the literals of each owner begin, by where they end; none for one without any."""
        found: dict[int, list[int]] = defaultdict(list)
        for literal, start, _ in self._matches(folded_text):
            for owner in self._owners[literal]:
                found[owner].append(start)
        return found

    def owners(self, folded_text: str) -> set[int]:
        """Those with a literal in the text."""
        literals = {literal for literal, _, _ in self._matches(folded_text)}
        return {owner for literal in literals for owner in self._owners[literal]}

    def occur_in(self, folded_text: str) -> bool:
        """Whether any literal is in the text."""
        return bool(self._matches(folded_text))

    def _matches(self, folded_text: str) -> list[tuple[int, int, int]]:
        return self._automaton.find_matches_as_indexes(folded_text, overlapping=True)
