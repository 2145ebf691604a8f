"""A second look at the passages found, and what follow-up questions are searched for."""

import pytest

from undercroft.records import Passage
from undercroft.retrieve.following import leans, standing_alone
from undercroft.retrieve.rerank import distinct, reranked


def passage(text, title="", score=0.5, start=1):
    return Passage(text[:9], "d", "u", title, text, start, start + len(text), score)


def test_the_passage_that_names_what_is_asked_about_comes_first():
    near = passage("## queue.LifoQueue\n\nA queue that gives the newest first.", score=0.6)
    right = passage("## queue.PriorityQueue.get()\n\nThe lowest entry of the queue.", score=0.55)
    found = reranked("What does queue.PriorityQueue.get() do?", [near, right])
    assert found == [right, near]
    assert [each.score for each in found] == [0.55, 0.6]


@pytest.mark.parametrize("question", ["", "?", "\0", "日本語"])
def test_any_question_orders_any_passages(question):
    found = [passage(""), passage("## \n"), passage("x" * 5000)]
    assert sorted(map(id, reranked(question, found))) == sorted(map(id, found))
    assert reranked(question, []) == []


def test_what_says_the_same_is_shown_once():
    text = " ".join(f"word{number}" for number in range(40))
    found = [passage(text), passage(f"{text} more"), passage("another"), passage("third")]
    assert [each.text for each in distinct(found, 3)] == [text, "another", "third"]


def test_the_index_gives_as_many_passages_as_wanted(reference):
    question = "How does the with statement work?"
    for count in (1, 3, 15):
        plain = reference.search(question, count)
        looked_at = reference.search(question, count, rerank=True)
        assert len(plain) == count
        assert 1 <= len(looked_at) <= count
    assert reference.search(question, 3)[0].title


@pytest.mark.parametrize(
    ("earlier", "question", "searched"),
    [
        ("How do I install Python on Linux?", "And on Windows?", "install Windows"),
        ("What does heapq.merge() do?", "What does it return?", "heapq.merge return"),
        ("How do I copy a list?", "Why?", "copy list"),
    ],
)
def test_a_question_that_leans_on_another_is_searched_for_with_its_words(
    earlier, question, searched
):
    found = standing_alone(question, [earlier, "And then?"])
    assert all(word in found for word in searched.split())


@pytest.mark.parametrize(
    "question", ["What is a tuple?", "Describe re.match.", "Why is my import slow?"]
)
def test_a_question_that_stands_by_itself_is_left_alone(question):
    assert not leans(question)
    assert standing_alone(question, ["How do I copy a list?"]) == question


def test_with_nothing_to_lean_on_the_question_stays():
    assert standing_alone("And on Windows?", []) == "And on Windows?"
    assert standing_alone("And on Windows?", ["Why?"]) == "And on Windows?"
