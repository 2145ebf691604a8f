from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from undercroft.console.components import prose
from undercroft.console.markup import h, join


@given(st.text())
def test_text_and_attributes_can_never_become_markup(text):
    written = str(h("p", text, title=text))
    assert written.count("<") == 2
    assert written.count(">") == 2
    assert written.count('"') == 2


def test_markup_is_kept_and_none_and_false_are_left_out():
    assert h("p", Markup("<b>x</b>"), None, [1, "a"]) == "<p><b>x</b>1a</p>"
    assert h("input", disabled=True, value=None, name="q") == '<input disabled name="q">'
    assert join("<", ["&", None]) == "&lt;&amp;"


def test_only_citations_of_passages_that_were_shown_become_links():
    written = prose.answer("Yes [1][3], as in [2, 9].", num_sources=3)
    assert written.count("<a ") == 3
    assert 'href="#source-3"' in written
    assert "[9]" in written


def test_indexing_in_code_is_not_a_citation():
    assert "<a " not in prose.answer("Use f(x)[0][1] or list[1] or `a[2]`.", num_sources=3)


def test_a_fence_that_is_still_being_streamed_is_already_code():
    written = prose.answer("See:\n\n```python\nwith open(p) as f:\n    <b>")
    assert "<pre><code>with open(p) as f:\n    &lt;b&gt;</code></pre>" in written


def test_a_passage_is_marked_only_where_it_lies_inside_the_text():
    assert "<mark" in join(prose.marked("a passage here", 2, 9))
    assert join(prose.marked("short", 2, 90)) == "short"
