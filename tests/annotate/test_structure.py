from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.annotate.structure import sections, sentences, signature_name, words_of

MARKDOWN = """Before any heading stands this line.

# Brewing coffee

Coffee is brewed from *roasted* beans.
It is often served hot, e.g. in a cup. Some drink it cold.

```python
# not a heading
brew(beans)
```

## Grinding

- Beans are ground just before they are brewed.
- A burr grinder gives even grounds.
"""
DOCSTRINGS = """coffee.brew(beans, *, water=None)

Return a cup of coffee made of beans.

class coffee.Cup(Vessel)
A cup that holds coffee until it is empty.
"""


def test_headings_of_markdown_cut_the_text_and_code_is_not_prose() -> None:
    found = sections(MARKDOWN)
    assert [section.heading for section in found] == ["", "Brewing coffee", "Grinding"]
    prose = [MARKDOWN[start:end] for section in found for start, end in section.blocks]
    assert not any("brew(" in block for block in prose)
    assert prose[-2:] == [
        "Beans are ground just before they are brewed.",
        "A burr grinder gives even grounds.",
    ]


def test_underlined_titles_are_headings() -> None:
    text = 'The "with" statement\n********************\n\nIt wraps a block of code.\n'
    assert [section.heading for section in sections(text)] == ['The "with" statement']


def test_lone_signatures_are_headings_and_sentences_that_look_like_calls_are_not() -> None:
    found = sections(DOCSTRINGS)
    assert [section.is_signature for section in found] == [True, True]
    assert not any(section.is_signature for section in sections("We went home (at last).\n\nOh."))


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("json.dumps(obj, *, indent=None)", "json.dumps()"),
        ("async asyncio.sleep(delay, result=None)", "asyncio.sleep()"),
        ("class json.JSONDecoder(object)", "json.JSONDecoder"),
        ("class json.JSONDecoder", "json.JSONDecoder"),
        ("threading.Barrier.n_waiting", "threading.Barrier.n_waiting"),
        ("def f(a=(1, 2)) -> int:", "f()"),
        ("Brewing coffee", ""),
    ],
)
def test_a_signature_is_asked_about_by_its_name(heading: str, name: str) -> None:
    assert signature_name(heading) == name


def test_sentences_end_at_full_stops_but_not_at_abbreviations() -> None:
    text = 'It is hot, e.g. Fresh coffee. "Really?" Yes (it is.) See 3.11 for more.'
    parts = [text[start:end] for start, end in sentences(text, 0, len(text))]
    assert parts[0] == "It is hot, e.g. Fresh coffee."
    assert parts[-1] == "See 3.11 for more."


@given(st.text(alphabet="aB. \n#*-=`(_)\"'!?", max_size=300))
def test_every_span_lies_inside_the_text_and_in_order(text: str) -> None:
    for section in sections(text):
        for start, end in section.blocks:
            assert 0 <= start <= end <= len(text)
            spans = sentences(text, start, end)
            assert all(low < high for low, high in spans)
            joined = words_of("".join(text[low:high] for low, high in spans)).replace(" ", "")
            assert joined == words_of(text[start:end]).replace(" ", "")
