"""Which questions may have one answer, by the rules and by the labelled pairs."""

import pytest

from benchmarks.questions.pairs import pairs
from undercroft.serve.caches import sense


def conflict(one: str, other: str) -> str:
    return sense.conflict(sense.read(one), sense.read(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I sort a list?", "What is the best way to sort a list?"),
        ("What does heapq.merge() do?", "Can you please describe heapq.merge?"),
        ("Why can't I change a string?", "How come I am unable to modify a string?"),
        ("How do I wait for 5 seconds?", "How can I wait for five secs?"),
        ("What happens if the file doesn't exist?", "What if a file does not exist?"),
        ("How do I turn the light on?", "How do I enable the light?"),
    ],
)
def test_the_same_question_in_other_words_is_the_same(one, other):
    assert conflict(one, other) == ""
    assert conflict(other, one) == ""


@pytest.mark.parametrize(
    ("one", "other", "rule"),
    [
        ("How do I sort a list?", "Why do I sort a list?", "kind"),
        ("Wait 5 seconds?", "Wait 5 minutes?", "number"),
        ("Is it on 3 May?", "Is it on 3 June?", "number"),
        ("Can I smoke here?", "Can't I smoke here?", "negation"),
        ("What does re.match do?", "What does re.search do?", "name"),
        ("What does -m do?", "What does -M do?", "name"),
        ("How do I enable logging?", "How do I turn off logging?", "opposite"),
        ("Does Mary teach John?", "Is Mary taught John?", "voice"),
        ("Print all pages?", "Print pages?", "quantifier"),
        ("How do I turn text into bytes?", "How do I turn bytes into text?", "direction"),
        ("Does the cat chase the dog?", "Does the dog chase the cat?", "direction"),
        ("How do I divide a by b?", "How do I divide b by a?", "direction"),
        ("How do I rename a row?", "How do I rename a column?", "word"),
    ],
)
def test_what_a_vector_does_not_see_tells_questions_apart(one, other, rule):
    assert conflict(one, other) == rule
    assert conflict(other, one) == rule


@pytest.mark.parametrize("text", ["", "?", "\0", "a", "…" * 50, "日本語の質問ですか？", "'" * 99])
def test_any_text_is_a_question(text):
    assert conflict(text, text) == ""


def test_of_the_labelled_pairs_none_that_differ_is_taken_for_the_same():
    for part in ("dev", "test"):
        wrong = [
            pair for pair in pairs(part) if not pair.same and not conflict(pair.one, pair.other)
        ]
        assert wrong == []


def test_most_of_the_labelled_paraphrases_are_seen():
    same = [pair for part in ("dev", "test") for pair in pairs(part) if pair.same]
    seen = sum(not conflict(pair.one, pair.other) for pair in same)
    assert seen / len(same) > 0.8
