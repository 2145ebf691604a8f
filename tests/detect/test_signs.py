"""Signs: a text that a pattern matches in any case has the pattern's literals in it, folded."""

from __future__ import annotations

import re
import sys

from hypothesis import given
from hypothesis import strategies as st

from undercroft.detect import generated, identity, injection, malware, rules, spam
from undercroft.detect.signs import Signs, folded


def literals() -> set[str]:
    patterns = (*injection.PATTERNS, *malware.PATTERNS, *spam.PATTERNS, *generated.PATTERNS)
    told = (sign for rule in identity.RULES for sign in rule.words.signs)
    return {*(sign for each in patterns for sign in each.signs), *told, *rules._LITERALS}


def test_every_literal_is_folded() -> None:
    assert [each for each in literals() if folded(each) != each] == []


def test_whatever_a_letter_matches_in_any_case_folds_to_it() -> None:
    letters = sorted({char for literal in literals() for char in literal})
    any_case = re.compile("[" + "".join(map(re.escape, letters)) + "]", re.I)
    for code in range(sys.maxunicode + 1):
        if any_case.match(chr(code)):
            assert folded(chr(code)) in letters, hex(code)


@given(st.text())
def test_folding_keeps_every_character_in_its_place(text: str) -> None:
    assert len(folded(text)) == len(text)
    assert "".join(map(folded, text)).replace("ς", "σ") == folded(text).replace("ς", "σ")


@given(st.text(st.sampled_from("abcé ß")), st.lists(st.text("abcé", min_size=1), max_size=5))
def test_all_places_of_all_owners_are_found(text: str, words: list[str]) -> None:
    signs = Signs([(word, word + "ß") for word in words])
    found = signs.places(text)
    for number, word in enumerate(words):
        expected = {at for at in range(len(text)) if text.startswith((word, word + "ß"), at)}
        assert set(found.get(number, ())) == expected
        assert (number in signs.owners(text)) == bool(expected)
