"""One spelling for each address, and the links of a page."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.collect.urls import canonical, read_page, same_site


@pytest.mark.parametrize(
    ("url", "spelling"),
    [
        ("HTTP://Example.COM:80/a/../b/./c#top", "http://example.com/b/c"),
        ("https://example.com", "https://example.com/"),
        ("https://example.com:443/?utm_source=x&b=2&a=1", "https://example.com/?b=2&a=1"),
        ("https://example.com/%7Euser/%c3%a9", "https://example.com/~user/%C3%A9"),
        ("https://münchen.example/ä", "https://xn--mnchen-3ya.example/%C3%A4"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
        ("https://example.com/../../x", "https://example.com/x"),
        ("https://example.com/a%2Fb", "https://example.com/a%2Fb"),
        ("mailto:a@b.example", None),
        ("javascript:void(0)", None),
        ("http://", None),
        ("http://example.com:port/", None),
    ],
)
def test_addresses_have_one_spelling(url: str, spelling: str | None) -> None:
    assert canonical(url) == spelling


@given(st.text(max_size=40))
def test_the_spelling_of_a_spelling_is_itself(path: str) -> None:
    once = canonical(path, "https://example.com/base/")
    if once is not None:
        assert canonical(once) == once


def test_links_are_resolved_once_each_and_in_order() -> None:
    page = read_page(
        '<base href="/docs/"><a href="b.html#x">b</a><a href="b.html">again</a>'
        '<a href="mailto:x@y.z">m</a><a rel="nofollow" href="c">c</a><a href="../a">a</a>',
        "https://example.com/start",
    )
    assert page.links == ["https://example.com/docs/b.html", "https://example.com/a"]


@pytest.mark.parametrize(
    ("directives", "is_index", "num_links"),
    [("noindex", False, 1), ("nofollow", True, 0), ("none", False, 0), ("noai", True, 1)],
)
def test_robots_meta_is_obeyed(directives: str, is_index: bool, num_links: int) -> None:
    html = f'<meta name="robots" content="{directives}"><a href="/x">x</a>'
    page = read_page(html, "https://example.com/")
    assert (page.is_index, len(page.links)) == (is_index, num_links)


def test_a_site_is_a_host_and_a_port() -> None:
    assert same_site("http://a.example/x", "http://a.example/")
    assert same_site("https://a.example/x", "http://a.example/")
    assert not same_site("http://a.example:81/x", "http://a.example/")
    assert not same_site("http://www.a.example/", "http://a.example/")
