"""Payloads become clean text, whatever their markup and line ends."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from undercroft.curate.extract import normalise, text_of

PARAGRAPH = "The main text of the page explains how a context manager releases what it holds. " * 6
PAGE = f"""<html><head><title>T</title><script>var x = 1;</script></head><body>
<nav><a href="/">Home</a> <a href="/x">Products</a> <a href="/y">Imprint</a></nav>
<article><h1>Context managers</h1><p>{PARAGRAPH}</p>
<pre><code>with open("f") as f:
    f.read()</code></pre><p>{PARAGRAPH}</p></article>
<footer>Copyright, all rights reserved. Follow us.</footer></body></html>"""


def test_the_main_text_of_a_page_is_kept_and_its_frame_is_not() -> None:
    text = text_of(PAGE.encode(), "text/html")
    assert "# Context managers" in text
    assert text.count("The main text of the page") == 12
    assert 'with open("f") as f:' in text
    assert "Products" not in text
    assert "var x" not in text


def test_a_page_without_a_clear_main_text_gives_all_its_text() -> None:
    text = text_of(b"<html><body><div>Just a few words</div></body></html>", "text/html")
    assert text == "Just a few words\n"


def test_a_page_without_text_is_empty() -> None:
    assert text_of(b"<html><body><script>1</script></body></html>", "text/html") == ""
    assert text_of(b"", "text/html") == ""


def test_markdown_stays_as_it_is() -> None:
    text = "# Title\n\n- a\n- b\n\n    code\n"
    assert text_of(text.encode(), "text/markdown") == text


def test_line_ends_controls_and_forms_are_made_uniform() -> None:
    assert normalise("a\r\nb\rc\u2028d\x00\x1b e\u0301\ufeff  \n\n\n\n\n\nf\x0cg") == (
        "a\nb\nc\nd e\u0301\n\n\nf\n\ng\n".replace("e\u0301", "é")
    )


@given(st.text(max_size=200))
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
