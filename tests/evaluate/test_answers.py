from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.evaluate import answers
from undercroft.records import Example, Passage

TEXT = "The with statement is used to wrap the execution of a block with a context manager."
GOLD = Passage("d1:0", "d1", "u1", "with", TEXT, 0, len(TEXT))
OTHER = Passage("d2:0", "d2", "u2", "for", "The for statement iterates over a sequence.", 0, 43)
CASE = Example(
    "c1", "definition", "What does with do?", (GOLD, OTHER), "wrap the execution of a block", (1,),
    True, "g", "d1", 30, 60,
)  # fmt: skip


def test_f1_is_squads_with_citations_and_articles_left_out() -> None:
    assert answers.token_f1("It wraps a block. [1]", "It wraps the block") == 1.0
    assert answers.token_f1("a b c d", "c d e f") == pytest.approx(2 * 2 / (3 + 4))  # "a" is gone
    assert answers.token_f1("", "something") == 0.0
    assert answers.token_f1("", "") == 1.0


@given(st.text(), st.text())
def test_f1_is_symmetric_and_bounded(one: str, two: str) -> None:
    assert answers.token_f1(one, two) == answers.token_f1(two, one)
    assert 0.0 <= answers.token_f1(one, two) <= 1.0


@given(st.text())
def test_every_score_of_any_text_is_between_0_and_1(text: str) -> None:
    for score in (
        answers.groundedness(text, [GOLD, OTHER]),
        answers.citation_accuracy(text, [GOLD, OTHER], CASE),
        answers.repetition(text),
    ):
        assert 0.0 <= score <= 1.0


def test_the_documents_own_words_are_grounded() -> None:
    assert (
        answers.groundedness("The with statement is used to wrap the execution. [1]", [GOLD]) > 0.8
    )
    assert answers.groundedness("context manager", [GOLD]) == 1.0


def test_inventing_looping_refusing_and_silence_are_not_grounded() -> None:
    invented = "Statements open files because files want to be closed by somebody at night."
    loop = "wrap the execution of a block " * 8
    assert answers.groundedness(invented, [GOLD, OTHER]) == 0.0
    assert answers.groundedness(loop, [GOLD, OTHER]) < 0.2
    assert answers.groundedness("The documents do not say.", [GOLD]) == 0.0
    assert answers.groundedness("", [GOLD]) == 0.0


def test_a_citation_is_right_where_the_passage_holds_the_answer() -> None:
    shown = [OTHER, GOLD]
    assert answers.citation_accuracy("It wraps. [2]", shown, CASE) == 1.0
    assert answers.citation_accuracy("It wraps. [1][2]", shown, CASE) == 0.5
    assert answers.citation_accuracy("It wraps. [7]", shown, CASE) == 0.0
    assert answers.citation_accuracy("It wraps.", shown, CASE) == 0.0


def test_a_passage_holds_the_answer_by_its_span_or_by_saying_it_too() -> None:
    elsewhere = dataclasses.replace(GOLD, document="copy", start=900, end=980)
    beside = dataclasses.replace(OTHER, document="d1", start=100, end=143)
    assert answers.holds(GOLD, CASE)
    assert answers.holds(elsewhere, CASE)
    assert not answers.holds(beside, CASE)
    assert answers.gold_rank([OTHER, beside, GOLD], CASE) == 3
    assert answers.gold_rank([OTHER], CASE) is None


def test_a_refusal_says_so_and_then_stops() -> None:
    assert answers.is_refusal("The documents do not say.")
    assert answers.is_refusal("the documents do not say [1]")
    assert not answers.is_refusal("The documents do not say. However, with opens a file and " * 2)
    assert not answers.is_refusal("It wraps a block.")


def test_repetition_is_the_share_of_4_grams_said_before() -> None:
    assert answers.repetition("one two three four five six seven") == 0.0
    assert answers.repetition("a b c d a b c d") == pytest.approx(1 / 5)
    assert answers.repetition("no loop") == 0.0
    assert answers.repetition("again and again and " * 10) > 0.8
