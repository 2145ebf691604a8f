from __future__ import annotations

import pytest

from undercroft.annotate import quality
from undercroft.annotate.questions import Candidate, Source, candidates
from undercroft.annotate.structure import words_of


def ask(text: str, title: str = "Coffee") -> dict[str, Candidate]:
    return {c.kind: c for c in candidates(Source("d", "d", title, text, "d.md"), seed=20)}


@pytest.mark.parametrize(
    ("sentence", "kind", "subject"),
    [
        ("A moka pot is a small brewer for the stove.", "definition", "a moka pot"),
        ("The moka pot is used to brew coffee on a stove.", "use", "the moka pot"),
        ("The moka pot requires finely ground coffee.", "action", "the moka pot"),
        ("If the water boils over, the stove turns off.", "condition", "the water boils over"),
        ("To clean the moka pot, rinse it with warm water.", "how_to", "clean the moka pot"),
    ],
)
def test_sentences_become_questions_about_their_subject(
    sentence: str, kind: str, subject: str
) -> None:
    made = ask(f"Some words come first here.\n\n{sentence}\n")[kind]
    assert made.subject == subject
    assert subject in made.question
    assert made.answer == sentence


def test_signatures_are_answered_by_their_docstring() -> None:
    made = ask("# coffee.brew(beans)\n\nReturn a cup of coffee\nmade of beans.\n\nMore.\n")
    assert "coffee.brew()" in made["signature"].question
    assert made["signature"].answer == "Return a cup of coffee made of beans."


def test_what_a_docstring_says_of_its_return_value_is_asked_with_the_function() -> None:
    text = "# coffee.brew(beans)\n\nReturn a cup.\n\nThe brewed cup is a vessel made of glass.\n"
    assert "coffee.brew()" in ask(text)["definition"].question


def test_headings_that_ask_are_asked_as_they_are() -> None:
    text = "# Why is my coffee bitter?\n\nIt was ground too fine. Grind it coarser.\n"
    assert not ask(text)  # "It" does not stand alone
    text = text.replace("It was", "Bitter coffee was")
    assert ask(text)["heading"].question == "Why is my coffee bitter?"


@pytest.mark.parametrize(
    "sentence",
    [
        "This is a small brewer for the stove.",
        "It returns a new cup of coffee for everybody.",
        "The function returns a new cup of coffee.",
        "The following is a list of all the brewers.",
        "A moka pot is a (small brewer for the stove.",
        "A moka pot is [EMAIL_1] and a small brewer.",
        "A moka pot is a small brewer for",
        "x = moka.pot(1) ; y = [2]; z is a {3}.",
    ],
)
def test_what_cannot_stand_alone_or_is_malformed_is_not_asked(sentence: str) -> None:
    assert not ask(f"Some words come first here\n\n{sentence}\n")


def test_answers_are_the_words_of_their_span(reference: list[Source]) -> None:
    made = [(source, c) for source in reference for c in candidates(source, 20)]
    assert len(made) > 200
    for source, candidate in made:
        assert words_of(source.text[candidate.start : candidate.end]) == candidate.answer
        assert quality.is_answer(candidate.answer)
        assert "\n" not in candidate.question


def test_the_same_seed_asks_the_same_and_another_varies_the_words(reference: list[Source]) -> None:
    first, again, other = (candidates(reference[0], seed) for seed in (20, 20, 21))
    assert first == again
    assert [c.question for c in first] != [c.question for c in other]


def test_any_text_can_be_read() -> None:
    for text in ("", "\0" * 100, "#" * 1000, "a" * 10_000, "是的。" * 50, "\ufeff# \n\n\n"):
        candidates(Source("d", "d", "", text, "d"), 20)
