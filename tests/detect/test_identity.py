"""Values that the words beside them make personal: found with both, and with neither alone."""

from __future__ import annotations

import re
import sysconfig
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undercroft.detect import find, mask
from undercroft.detect.identity import RULES, Told, rules_for

CHECKED = [rule for rule in RULES if rule.check]
#: What people would write for the first of a rule's words.
PLAIN = re.compile(r"\(\?:[^()]*\)\?|\\\.|\?|\\w\+")
#: Examples where the documentation of the check has none of the form that people use.
EXAMPLES = {"us-ssn": ["536-90-4399"], "us-rtn": ["111000025"], "il-idnr": ["039337423"]}


def word_of(rule: Told) -> str:
    """The first way of saying what ``rule`` looks for."""
    first = rule.words.pattern.pattern.removeprefix(r"(?<!\w)(?:").removesuffix(r")(?!\w)")
    first = re.sub(r"\[(.)[^]]*\]", r"\1", first)
    return re.split(r"\|", PLAIN.sub("", first))[0]


def numbers_of(rule: Told) -> list[str]:
    """Valid numbers of the rule's form, from the documentation of its check."""
    module = import_module(f"stdnum.{rule.check}")
    quoted = re.findall(r"'([^'\n]{6,40})'", module.__doc__ or "")
    shown = [*quoted, *(module.compact(each) for each in quoted), *EXAMPLES.get(rule.name, [])]
    return [each for each in shown if rule.pattern.fullmatch(each) and module.is_valid(each)]


@pytest.mark.parametrize("rule", CHECKED, ids=lambda rule: rule.name)
def test_a_valid_number_is_found_beside_its_word_and_not_without(rule: Told) -> None:
    numbers = numbers_of(rule)
    assert numbers, "no example"
    for number in numbers:
        for text in (f"{word_of(rule)}: {number}.", f"the {word_of(rule)} is {number}, he said"):
            kinds = [f.kind for f in find(text, ("identity",)) if text[f.start : f.end] == number]
            assert rule.kind in kinds, text
        assert find(f"in line {number} of it", ("identity",)) == []


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["130 692 544", "943 476 5919"]), st.data())
def test_one_wrong_digit_is_enough_to_leave_a_number_alone(
    number: str, data: st.DataObject
) -> None:
    at = data.draw(st.sampled_from([n for n, char in enumerate(number) if char.isdigit()]))
    digit = data.draw(st.sampled_from([d for d in "0123456789" if d != number[at]]))
    word = {"1": "SIN", "9": "NHS number"}[number[0]]
    assert find(f"{word} {number}", ("identity",)) != []
    assert find(f"{word} {number[:at]}{digit}{number[at + 1 :]}", ("identity",)) == []


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Passport No. X1234567, valid", "Passport No. [PASSPORT], valid"),
        ("driver's license number D123-4567-8901", "driver's license number [DRIVERS LICENCE]"),
        ("Ada, born on 12 March 1984 in Rome", "Ada, born on [DATE OF BIRTH] in Rome"),
        ("DOB: 1984-03-12", "DOB: [DATE OF BIRTH]"),
        ("geboren am 3. März 1971", "geboren am [DATE OF BIRTH]"),
        ("at 221B Baker Street, London, NW1 6XE", "at [ADDRESS]"),
        ("Musterstraße 12, 10115 Berlin", "[ADDRESS]"),
        ("au 12 rue de la Paix, 75002 Paris", "au [ADDRESS]"),
        ("account number 12345678", "account number [BANK ACCOUNT]"),
        ("NI number AB 12 34 56 C", "NI number [NATIONAL ID]"),
        ("Bitcoin 1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "Bitcoin [CRYPTO WALLET]"),
    ],
)
def test_what_has_no_check_digits_needs_its_words_before_it(text: str, masked: str) -> None:
    assert mask(text, find(text, ("identity",)), ("identity",)) == masked


@pytest.mark.parametrize(
    "text",
    [
        "The release of 2024-03-12 was born from need.",
        "See pages 12-34 and section 1.2.3 of RFC 1234567.",
        "passport.authenticate('local', 1000)",
        "Turn left at 5 Way points; 3 St patches.",
        "SIN(x) at 130692543 is 0.5",
        "x = 12345678  # the account",
    ],
)
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    assert find(text, ("identity",)) == []


def test_code_is_free_of_findings() -> None:
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:120]:
        assert find(path.read_text(encoding="utf-8"), ("identity",)) == []


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("aß0123456789 .-\nÉstreet号born")))
def test_any_text_gives_findings_inside_it(text: str) -> None:
    for found in find(text, ("identity",)):
        assert 0 <= found.start < found.end <= len(text)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_no_way_of_saying_a_rule_s_words_is_without_their_signs(rule: Told) -> None:
    @settings(max_examples=30, deadline=None)
    @given(st.from_regex(rule.words.pattern, fullmatch=True))
    def check(said: str) -> None:
        assert rule in rules_for(said)[0]

    check()
