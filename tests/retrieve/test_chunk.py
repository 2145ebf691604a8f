"""Chunks: what they hold, where they end, and under which heading."""

import pydoc_data.topics
import time
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from undercroft.errors import BadInput
from undercroft.retrieve.chunk import split


def texts(source: str, chunks) -> list[str]:
    return [source[chunk.start : chunk.end] for chunk in chunks]


LINES = st.sampled_from(
    [
        "",
        "   ",
        "# Title",
        "## Part",
        "Underlined",
        "==========",
        "----------",
        "SYNOPSIS",
        "```python",
        "```",
        "    x = 1",
        ">>> f(1)",
        "One sentence. And another one! A third?",
        "word " * 30,
        "x" * 300,
        "日本語の文。もう一つの文。",
        "a\r",
        "\x1c\x85\u2028",
    ]
)
DOCUMENTS = st.one_of(st.lists(LINES, max_size=25).map("\n".join), st.text(max_size=400))


@settings(max_examples=400, deadline=None)
@given(text=DOCUMENTS, chunk_chars=st.integers(1, 250), overlap=st.integers(0, 60))
@example(text=" \n x", chunk_chars=1, overlap=0)
def test_chunks_are_ordered_bounded_and_hold_all_that_is_not_blank(text, chunk_chars, overlap):
    chunks = split(text, chunk_chars, overlap)
    covered = set()
    for chunk in chunks:
        assert 0 <= chunk.start < chunk.end <= len(text)
        assert chunk.end - chunk.start <= chunk_chars + overlap
        assert text[chunk.start : chunk.end].strip()
        covered.update(range(chunk.start, chunk.end))
    assert [c.start for c in chunks] == sorted({c.start for c in chunks})
    assert [c.end for c in chunks] == sorted({c.end for c in chunks})
    assert all(i in covered for i, character in enumerate(text) if not character.isspace())
    if not overlap:
        assert all(a.end <= b.start for a, b in pairwise(chunks))


def test_a_heading_begins_a_chunk_and_names_those_below_it():
    body = "Some words that fill the section. " * 10
    source = f"# Guide\n\n{body}\n\n## Install\n\n{body}\n\n## Use\n\n{body}"
    chunks = split(source, 400)
    assert [c.heading for c in chunks] == ["Guide", "Guide > Install", "Guide > Use"]
    assert [t.split("\n")[0] for t in texts(source, chunks)] == ["# Guide", "## Install", "## Use"]


@pytest.mark.parametrize(
    "heading", ["Raised errors\n*************", "=====\nTitle\n=====", "SYNOPSIS", "### Title ###"]
)
def test_every_way_to_write_a_heading_is_seen(heading):
    body = "Words in a paragraph of text. " * 12
    source = f"{body}\n\n{heading}\n\n{body}"
    first, second = split(source, 420)
    assert first.heading == ""
    assert second.heading in {"Raised errors", "Title", "SYNOPSIS"}
    assert source[second.start :].startswith(heading)


@pytest.mark.parametrize(
    "line", ["#!/usr/bin/sh", "# of items: none\nand more", "Price\n--", "    INDENTED", "Not CAPS"]
)
def test_what_only_looks_like_a_heading_is_text(line):
    source = f"```\n{line}\n```" if line.startswith("# of") else line
    assert [chunk.heading for chunk in split(source, 400)] == [""]


def test_code_blocks_are_not_torn_apart_when_they_fit():
    code = "```python\n" + "\n\n".join(f"value_{i} = {i}" for i in range(12)) + "\n```"
    source = "An introduction in words. " * 8 + "\n\n" + code + "\n\n" + "And after. " * 20
    assert any(code in found for found in texts(source, split(source, 400)))


def test_long_paragraphs_end_at_sentences_and_are_about_equally_long():
    source = "This sentence has exactly eight words in it. " * 40
    found = texts(source, split(source, 500))
    assert all(chunk.endswith("in it.") for chunk in found)
    assert max(map(len, found)) - min(map(len, found)) < 100


def test_tiny_sections_go_together():
    source = "\n\n".join(f"## Part {i}\n\nA line." for i in range(8))
    assert len(split(source, 400)) < 4


def test_thousands_of_headings_take_no_time():
    source = "\n\n".join(f"{'#' * (1 + i % 6)} Part {i}\n\n" + "Words. " * 40 for i in range(5000))
    began = time.perf_counter()
    assert len(split(source, 900)) >= 2500
    assert time.perf_counter() - began < 3


def test_impossible_sizes_are_refused():
    with pytest.raises(BadInput):
        split("text", 0)
    with pytest.raises(BadInput):
        split("text", 10, -1)


def test_the_language_reference_is_cut_at_its_own_borders_and_fast():
    source = pydoc_data.topics.topics
    began = time.perf_counter()
    chunks = {name: split(text, 900) for name, text in source.items()}
    seconds = time.perf_counter() - began
    megabytes = sum(map(len, source.values())) / 1e6
    assert seconds / megabytes < 3
    lengths = [c.end - c.start for found in chunks.values() for c in found]
    assert max(lengths) <= 900
    assert sum(lengths) / len(lengths) > 450
    assert "The “with” statement" in chunks["with"][0].heading.replace('"with"', "“with”")
