"""Rules over signals: the first that holds is the reason, with the value that was measured."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from undercroft.curate.policy import Verdict, digest_of, judge, judge_copies, rules_of
from undercroft.lake.schemas import DUPLICATES
from undercroft.settings import CurateSettings

FINE: dict[str, Any] = {
    "num_chars": 1000,
    "language": "en",
    "symbol_ratio": 0.1,
    "duplicate_line_ratio": 0.0,
    "top_ngram_ratio": 0.0,
    "num_secrets": 0,
    "usage": "search=y; train-ai=y",
    "contaminated_by": "",
    "quarantined": None,
}
COPIES = pa.schema([("id", pa.string()), *DUPLICATES])


def verdicts(
    documents: dict[str, dict[str, Any]], settings: CurateSettings, copies: Any = ()
) -> dict[str, Verdict]:
    """What is removed, of documents by id with what is not `FINE` about them."""
    rules = rules_of(settings)
    signals = pa.Table.from_pylist([{**FINE, "id": n, **own} for n, own in documents.items()])
    signals = signals.set_column(
        signals.column_names.index("quarantined"),
        "quarantined",
        signals["quarantined"].cast(pa.string()),
    )
    removed = judge(signals, rules)
    return removed | judge_copies(pa.Table.from_pylist(list(copies), COPIES), rules, removed)


@pytest.mark.parametrize(
    ("signals", "rule", "value"),
    [
        ({"num_chars": 12}, "too_short", "12"),
        ({"usage": "search=y; train-ai=n"}, "usage_reserved", "search=y; train-ai=n"),
        ({"usage": "noai; noimageai"}, "usage_reserved", "noai; noimageai"),
        ({"usage": "tdm-reservation=1"}, "usage_reserved", "tdm-reservation=1"),
        ({"num_chars": 3_000_000}, "too_long", "3000000"),
        ({"symbol_ratio": 0.75}, "symbols", "0.75"),
        ({"duplicate_line_ratio": 0.6666667}, "repeated_lines", "0.6667"),
        ({"top_ngram_ratio": 0.5}, "repeated_ngrams", "0.5"),
        ({"num_secrets": 21}, "secrets", "21"),
        ({"language": "de"}, "language", "de"),
        ({"num_chars": 12, "symbol_ratio": 0.9}, "too_short", "12"),
        ({"num_chars": 0, "quarantined": "timeout: slow"}, "quarantined", "timeout: slow"),
    ],
)
def test_the_first_rule_that_holds_is_the_reason(
    signals: dict[str, Any], rule: str, value: str
) -> None:
    verdict = verdicts({"a": signals, "b": {}}, CurateSettings(languages=["en"]))
    assert verdict == {"a": Verdict(False, rule, value)}


def test_a_language_that_cannot_be_told_is_no_reason() -> None:
    assert verdicts({"a": {"language": "und"}}, CurateSettings(languages=["en"])) == {}


def test_a_duplicate_goes_only_while_its_original_stays() -> None:
    near = {"id": "b", "near_duplicate_of": "a", "near_duplicate_jaccard": 0.93}
    settings = CurateSettings()
    gone = Verdict(False, "near_duplicate", "0.93")
    assert verdicts({"a": {}, "b": {}}, settings, [near]) == {"b": gone}
    assert set(verdicts({"a": {"num_secrets": 99}, "b": {}}, settings, [near])) == {"a"}


def test_a_copy_of_a_copy_goes_too() -> None:
    copies = [
        {"id": "b", "near_duplicate_of": "a", "near_duplicate_jaccard": 0.9},
        {"id": "c", "exact_duplicate_of": "b"},
    ]
    removed = verdicts({"a": {}, "b": {}, "c": {}}, CurateSettings(), copies)
    assert {name: each.rule for name, each in removed.items()} == {
        "b": "near_duplicate",
        "c": "exact_duplicate",
    }


def test_the_digest_names_the_policy() -> None:
    rules = rules_of(CurateSettings())
    assert digest_of(rules, ["pii", "secret"]) == digest_of(rules, ["secret", "pii"])
    assert digest_of(rules, ["pii"]) != digest_of(rules, ["pii", "secret"])
    assert digest_of(rules_of(CurateSettings(min_chars=81)), ["pii"]) != digest_of(rules, ["pii"])
