"""Citations of passages that were not shown never leave."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.retrieve.prompt import citations
from undercroft.serve.guards.citations import CitationFilter

TEXTS = st.text(alphabet="[]0123456789, abc.(", max_size=60)


def cleaned(text: str, num_passages: int, cuts: list[int]) -> str:
    citation_filter = CitationFilter(num_passages)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(edges)]
    return "".join(map(citation_filter.feed, pieces)) + citation_filter.flush()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("It is so [1].", "It is so [1]."),
        ("No such thing [7].", "No such thing."),
        ("Both [1][9][2] say so", "Both [1][2] say so"),
        ("Both [1, 8, 2] say so", "Both [1, 2] say so"),
        ("Not zero [0].", "Not zero."),
        ("items[5] and f(x)[9] are code", "items[5] and f(x)[9] are code"),
        ("an open [12", "an open [12"),
        ("a [link] stays", "a [link] stays"),
    ],
)
def test_only_numbers_of_shown_passages_pass(said, shown):
    assert cleaned(said, 3, list(range(len(said)))) == shown


@given(TEXTS, st.lists(st.integers(0, 60), max_size=8), st.integers(0, 5))
def test_the_result_does_not_depend_on_how_the_text_was_cut(text, cuts, num_passages):
    assert cleaned(text, num_passages, cuts) == cleaned(text, num_passages, [])


@given(TEXTS, st.integers(0, 5))
def test_what_passes_cites_only_shown_passages(text, num_passages):
    assert all(n <= num_passages for n in citations(cleaned(text, num_passages, [])))


@given(st.text(alphabet="abc .,[x", max_size=60))
def test_text_without_citations_passes_unchanged(text):
    assert cleaned(text, 3, [1, 5, 9]) == text


def test_nothing_is_held_back_longer_than_it_may_be_a_citation():
    citation_filter = CitationFilter(3)
    assert citation_filter.feed("word") == "word"
    assert citation_filter.feed(" [") == ""
    assert citation_filter.feed("x") == " [x"
