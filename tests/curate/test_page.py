"""The main content of pages: what is kept, in which form, and what is not."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undercroft.curate.extract import text_of
from undercroft.curate.page import content_of

SENTENCE = "A paragraph of running text says something in full sentences, and ends with a mark. "
P = f"<p>{SENTENCE * 4}</p>"
LINKS = "".join(
    f'<li><a href="/{n}">Another page of the site, number {n}</a></li>' for n in range(9)
)


def page(body: str) -> str:
    return f"<!doctype html><html><head><title>T</title></head><body>{body}</body></html>"


def markdown(body: str) -> str:
    return content_of(page(body)).text


@pytest.mark.parametrize(
    "frame",
    [
        f"<nav><ul>{LINKS}</ul></nav>",
        f'<div class="site-footer"><p>{SENTENCE}</p></div>',
        f'<div class="c-article__related-posts"><ul>{LINKS}</ul></div>',
        f'<div id="comments"><p>I have read FRAME. {SENTENCE}</p></div>',
        f"<aside><h3>Read more</h3><ul>{LINKS}</ul></aside>",
        f'<div style="display: none">{P}</div>',
        f"<ul>{LINKS}</ul>",
        '<div class="cookieConsent"><p>We use cookies for FRAME, and so do our partners.</p></div>',
        "<script>document.write('FRAME')</script><style>.x{}</style><noscript>FRAME</noscript>",
    ],
)
def test_what_is_around_the_content_goes(frame: str) -> None:
    body = f"<h1>The title</h1>{P * 3}"
    for layout in (f"<div>{body}</div>{frame}", f"{frame}<article>{body}</article>"):
        text = markdown(layout)
        assert text.startswith("# The title")
        assert text.count("running text") == 12
        assert "Another page" not in text
        assert "FRAME" not in text


@pytest.mark.parametrize("name", ["page-with-sidebar", "nav-wrapper", "header-x", "ad-free"])
def test_a_misleading_name_around_everything_removes_nothing(name: str) -> None:
    assert markdown(f'<div class="{name}"><div>{P * 3}</div></div>').count("running text") == 12


def test_every_paragraph_of_one_name_is_believed_or_none() -> None:
    paragraphs = "".join(f'<p class="ad-slot-text">{SENTENCE * 3}</p>' for _ in range(6))
    assert markdown(f"<article>{P}{paragraphs}</article>").count("running text") == 22


def test_code_keeps_its_lines_and_language_and_loses_line_numbers() -> None:
    code = (
        '<div class="highlight-python notranslate"><div class="highlight"><pre>'
        '<span class="linenos">1</span><span class="k">def</span> <span>f</span>():\n'
        '<span class="linenos">2</span>    <span class="k">return</span> 1 &lt; 2\n'
        "</pre></div></div>"
    )
    assert "```python\ndef f():\n    return 1 < 2\n```" in markdown(P + code + P)
    assert "```\na\n  b\n```" in markdown(f"{P}<pre>a<br>  b<br></pre>")
    assert "````\n```x\n````" in markdown(f"{P}<pre>```x</pre>")
    assert "Use `a  b`." in markdown(f"<p>Use <code>a  b</code>.</p>{P}").replace("`a b`", "`a  b`")


def test_code_beside_its_line_numbers_is_code_alone() -> None:
    table = (
        "<table class='highlighttable'><tr><td class='linenos'><pre>1\n2</pre></td>"
        "<td class='code'><pre>x = 1\ny = 2</pre></td></tr></table>"
    )
    text = markdown(P * 3 + table)
    assert "```\nx = 1\ny = 2\n```" in text
    assert "1\n2" not in text.replace("x = 1\ny = 2", "")


def test_lists_nest_and_are_numbered() -> None:
    text = markdown(
        f"{P}<ol><li>First<ul><li>Inner <b>one</b></li><li>Inner two</li></ul></li>"
        f"<li><p>Second</p><pre>x\ny</pre></li></ol>{P}"
    )
    assert (
        "1. First\n   - Inner one\n   - Inner two\n2. Second\n\n   ```\n   x\n   y\n   ```" in text
    )


def test_data_tables_are_tables_and_layout_is_not() -> None:
    table = (
        "<table><caption>Sizes</caption><tr><th>name</th><th>size</th></tr>"
        "<tr><td>a | b</td><td><p>1</p><p>2</p></td></tr><tr><td>c</td></tr></table>"
    )
    expected = "Sizes\n\n| name | size |\n| --- | --- |\n| a \\| b | 1 2 |\n| c |  |"
    assert expected in markdown(P + table + P)
    layout = f"<table><tr><td><ul>{LINKS}</ul></td><td><table><tr><td>{P * 3}</td></tr></table>"
    assert markdown(layout).strip() == "\n\n".join([(SENTENCE * 4).strip()] * 3)


def test_formulas_are_kept_as_tex() -> None:
    formula = (
        "<math><semantics><mi>x</mi><annotation encoding='application/x-tex'>x^2</annotation>"
        "</semantics></math>"
    )
    assert "is $x^2$ here" in markdown(f"{P}<p>It is {formula} here, as was said.</p>")
    assert "a_b" in markdown(f'{P}<p>Or <img class="math" alt="a_b"> there.</p>')


def test_a_title_before_the_content_is_kept() -> None:
    text = markdown(f'<div class="top"><h1>Title</h1></div><div class="post-content">{P * 3}</div>')
    assert text.startswith("# Title\n\nA paragraph")


def test_panels_of_tabs_are_content_though_hidden() -> None:
    tabs = f'<div role="tabpanel">{P}</div><div role="tabpanel" hidden><pre>second tab</pre></div>'
    assert "second tab" in markdown(f"<main>{P}{tabs}</main>")


def test_a_page_of_links_keeps_them_but_not_its_navigation() -> None:
    index = f"<h1>Index</h1><ul>{LINKS}</ul>"
    text = markdown(f"<nav><a href='/'>Home page of it all</a></nav><main>{index}</main>")
    assert text.count("Another page") == 9
    assert "Home page" not in text


def test_quotes_line_breaks_and_right_to_left() -> None:
    text = markdown(f"{P}<blockquote><p>To be<br>or not</p></blockquote><p dir=rtl>שלום, עולם.</p>")
    assert "> To be\n> or not" in text
    assert "שלום, עולם." in text


@pytest.mark.parametrize("tag", ["div", "b", "blockquote", "ul><li", "table><tr><td", "span"])
def test_nesting_without_end_takes_no_time(tag: str) -> None:
    started = time.monotonic()
    text = markdown(f"<{tag}>" * 20_000 + "deep down, there is some text that is read." + P)
    assert "deep down" in text
    assert time.monotonic() - started < 10


def test_a_page_that_holds_little_is_given_whole() -> None:
    assert text_of(b"<p>Hello", "text/html") == "Hello\n"
    assert text_of("<div>你好，世界。</div>".encode(), "text/html") == "你好，世界。\n"


TAGS = ["p", "div", "li", "ul", "table", "td", "pre", "a", "nav", "h1", "code", "br", "math", "x:y"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(TAGS), st.text(max_size=12)), max_size=60), st.booleans())
def test_whatever_is_written_gives_text(parts: list[str], closes: bool) -> None:
    html = "".join(
        f"<{'/' if closes and n % 3 == 2 else ''}{part} class='{part}'>" if part in TAGS else part
        for n, part in enumerate(parts)
    )
    content = content_of(html)
    assert 0.0 <= content.confidence <= 1.0
    content.text.encode("utf-8", "surrogatepass")
