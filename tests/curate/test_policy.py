"""Rules over signals: the first that holds is the reason, with the value that was measured."""

from __future__ import annotations

from typing import Any

import pytest

from undercroft.curate.policy import digest_of, judge, rules_of
from undercroft.settings import CurateSettings

FINE: dict[str, Any] = {
    "num_chars": 1000,
    "language": "en",
    "symbol_ratio": 0.1,
    "duplicate_line_ratio": 0.0,
    "top_ngram_ratio": 0.0,
    "num_secrets": 0,
    "near_duplicate_jaccard": None,
    "near_duplicate_containment": None,
    "near_duplicate_of": None,
    "exact_duplicate_of": None,
}


def row(name: str, **signals: Any) -> dict[str, Any]:
    return {**FINE, "id": name, **signals}


@pytest.mark.parametrize(
    ("signals", "rule", "value"),
    [
        ({"num_chars": 12}, "too_short", "12"),
        ({"num_chars": 3_000_000}, "too_long", "3000000"),
        ({"symbol_ratio": 0.75}, "symbols", "0.75"),
        ({"duplicate_line_ratio": 0.6666667}, "repeated_lines", "0.6667"),
        ({"top_ngram_ratio": 0.5}, "repeated_ngrams", "0.5"),
        ({"num_secrets": 21}, "secrets", "21"),
        ({"language": "de"}, "language", "de"),
        ({"num_chars": 12, "symbol_ratio": 0.9}, "too_short", "12"),
    ],
)
def test_the_first_rule_that_holds_is_the_reason(
    signals: dict[str, Any], rule: str, value: str
) -> None:
    rules = rules_of(CurateSettings(languages=["en"]))
    verdict = judge([row("a", **signals)], rules)["a"]
    assert (verdict.kept, verdict.rule, verdict.value) == (False, rule, value)


def test_a_language_that_cannot_be_told_is_no_reason() -> None:
    rules = rules_of(CurateSettings(languages=["en"]))
    assert judge([row("a", language="und")], rules)["a"].kept


def test_a_duplicate_goes_only_while_its_original_stays() -> None:
    near = {"near_duplicate_of": "a", "near_duplicate_jaccard": 0.93}
    rules = rules_of(CurateSettings())
    verdicts = judge([row("a"), row("b", **near)], rules)
    assert verdicts["b"].rule == "near_duplicate"
    assert verdicts["b"].value == "0.93"
    verdicts = judge([row("a", num_secrets=99), row("b", **near)], rules)
    assert not verdicts["a"].kept
    assert verdicts["b"].kept


def test_a_copy_of_a_copy_goes_too() -> None:
    rows = [
        row("a"),
        row("b", near_duplicate_of="a", near_duplicate_jaccard=0.9),
        row("c", exact_duplicate_of="b"),
    ]
    verdicts = judge(rows, rules_of(CurateSettings()))
    assert [verdicts[name].rule for name in "abc"] == ["", "near_duplicate", "exact_duplicate"]


def test_the_digest_names_the_policy() -> None:
    rules = rules_of(CurateSettings())
    assert digest_of(rules, ["pii", "secret"]) == digest_of(rules, ["secret", "pii"])
    assert digest_of(rules, ["pii"]) != digest_of(rules, ["pii", "secret"])
    assert digest_of(rules_of(CurateSettings(min_chars=81)), ["pii"]) != digest_of(rules, ["pii"])
