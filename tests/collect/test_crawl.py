"""The crawl against a real server: polite, bounded, resumable, and honest about what it left."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from undercroft.collect.containers import read_container
from undercroft.collect.stage import collect, rejections
from undercroft.errors import BadSource, Cancelled
from undercroft.project import Project
from undercroft.stage import StageRun

Opened = Callable[..., Project]
FAST = {"requests_per_second": 500.0, "timeout_s": 5.0}


def page(title: str, *links: str) -> str:
    anchors = "".join(f'<a href="{link}">{link}</a>' for link in links)
    return f"<html><title>{title}</title><body><p>Text of {title}.</p>{anchors}</body></html>"


def answer(**response: Any) -> Callable[[web.Request], Any]:
    async def respond(request: web.Request) -> web.Response:
        return web.Response(**response)

    return respond


def taken(project: Project) -> dict[str, str]:
    rows = project.lake.table("raw").read(["uri", "title", "status"]).to_pylist()
    return {row["uri"]: row["title"] for row in rows if row["status"] == "ok"}


def refused(project: Project) -> dict[str, str]:
    return {uri: reason.partition(":")[0] for uri, reason in rejections(project)}


def test_a_site_is_followed_on_its_host_only(project: Opened, site: Any) -> None:
    site.pages = {
        "/": page("Home", "/a", "a#again", "http://elsewhere.invalid/", "/deep/b"),
        "/a": page("A", "/"),
        "/deep/b": page("B", "../a?utm_source=x"),
    }
    opened = project(site.url, **FAST)
    collect(opened)
    assert taken(opened) == {
        f"{site.url}/": "Home",
        f"{site.url}/a": "A",
        f"{site.url}/deep/b": "B",
    }
    assert sorted(site.paths) == ["/", "/a", "/deep/b", "/robots.txt"]
    agents = {headers["User-Agent"].partition("/")[0] for _, headers in site.asked}
    assert agents == {"undercroft"}


def test_every_bad_page_is_a_recorded_refusal(project: Opened, site: Any) -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(3)
        return web.Response(text="late")

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/html"})
        await response.prepare(request)
        try:
            for _ in range(1000):
                await response.write(b"x" * 65536)
        except ConnectionError:
            pass  # the crawler has had enough
        return response

    bad = ("/gone", "/out", "/slow", "/zip", "/endless", "/private", "/loop", "/hidden", "/fails")
    site.pages = {
        "/robots.txt": answer(text="User-agent: *\nDisallow: /private\n"),
        "/": page("Home", *bad),
        "/out": answer(status=302, headers={"Location": "http://elsewhere.invalid/x"}),
        "/slow": slow,
        "/zip": answer(body=b"PK", content_type="application/zip"),
        "/endless": endless,
        "/loop": answer(status=302, headers={"Location": "/loop"}),
        "/hidden": answer(
            text="<p>x</p>", content_type="text/html", headers={"X-Robots-Tag": "noindex"}
        ),
        "/fails": answer(status=410),
    }
    opened = project(site.url, requests_per_second=500.0, timeout_s=0.7, max_file_mb=1.0)
    collect(opened)
    assert taken(opened) == {f"{site.url}/": "Home"}
    assert refused(opened) == {
        f"{site.url}/gone": "http_404",
        f"{site.url}/out": "redirect_out",
        f"{site.url}/slow": "timeout",
        f"{site.url}/zip": "content_type",
        f"{site.url}/endless": "too_large",
        f"{site.url}/private": "robots",
        f"{site.url}/loop": "redirects",
        f"{site.url}/hidden": "noindex",
        f"{site.url}/fails": "http_410",
    }
    assert "/private" not in site.paths


def test_redirects_on_the_host_are_followed_to_one_document(project: Opened, site: Any) -> None:
    site.pages = {
        "/": page("Home", "/old", "/new"),
        "/old": answer(status=301, headers={"Location": "/new"}),
        "/new": page("New"),
    }
    opened = project(site.url, **FAST)
    collect(opened)
    assert taken(opened) == {f"{site.url}/": "Home", f"{site.url}/new": "New"}


@pytest.mark.parametrize("status", [404, 403, 401, 429])
def test_no_robots_file_means_that_all_is_allowed(project: Opened, site: Any, status: int) -> None:
    site.pages = {"/robots.txt": answer(status=status), "/": page("Home")}
    opened = project(site.url, **FAST)
    collect(opened)
    assert taken(opened) == {f"{site.url}/": "Home"}


def test_a_failing_robots_file_means_that_nothing_is_allowed(project: Opened, site: Any) -> None:
    site.pages = {"/robots.txt": answer(status=503), "/": page("Home")}
    with pytest.raises(BadSource, match=r"robots\.txt answers 503"):
        collect(project(site.url, **FAST))
    assert "/" not in site.paths


def test_the_delay_that_a_site_asks_for_is_kept(project: Opened, site: Any) -> None:
    site.pages = {
        "/robots.txt": answer(text="User-agent: *\nCrawl-delay: 0.3\n"),
        "/": page("Home", "/a", "/b"),
        "/a": page("A"),
        "/b": page("B"),
    }
    started = time.monotonic()
    collect(project(site.url, **FAST))
    assert time.monotonic() - started >= 0.6


def test_pages_and_depth_are_limited(project: Opened, site: Any) -> None:
    site.pages = {f"/{n}": page(str(n), f"/{n + 1}", f"/{n + 100}") for n in range(50)}
    opened = project(f"{site.url}/0", max_pages=7, **FAST)
    collect(opened)
    assert len(taken(opened)) + len(refused(opened)) == 7
    opened = project(f"{site.url}/0", max_depth=2, **FAST)
    collect(opened)
    assert set(taken(opened)) == {f"{site.url}/{n}" for n in range(3)}


def test_pages_that_did_not_change_are_not_sent_again(project: Opened, site: Any) -> None:
    sent = []

    async def tagged(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") == '"v1"':
            return web.Response(status=304)
        sent.append(request.path)
        return web.Response(
            text=page("Tagged", "/b"), content_type="text/html", headers={"ETag": '"v1"'}
        )

    site.pages = {"/": tagged, "/b": page("B")}
    (first,) = collect(project(site.url, **FAST))
    site.pages["/b"] = page("B, changed")
    opened = project(site.url, requests_per_second=400.0)
    (second,) = collect(opened)
    assert sent == ["/"]
    assert taken(opened) == {f"{site.url}/": "Tagged", f"{site.url}/b": "B, changed"}
    assert second.digest != first.digest


def test_a_bad_moment_of_the_server_loses_nothing(project: Opened, site: Any) -> None:
    site.pages = {"/": page("Home", "/a"), "/a": page("A", "/b"), "/b": page("B")}
    collect(project(site.url, **FAST))
    site.pages["/a"] = answer(status=500)
    opened = project(site.url, requests_per_second=400.0)
    collect(opened)
    assert set(taken(opened)) == {f"{site.url}{path}" for path in ("/", "/a", "/b")}


def test_a_page_that_is_gone_is_dropped(project: Opened, site: Any) -> None:
    site.pages = {"/": page("Home", "/a"), "/a": page("A")}
    collect(project(site.url, **FAST))
    del site.pages["/a"]
    opened = project(site.url, requests_per_second=400.0)
    collect(opened)
    assert taken(opened) == {f"{site.url}/": "Home"}
    assert refused(opened) == {f"{site.url}/a": "http_404"}


def test_a_killed_crawl_goes_on_where_it_was(
    project: Opened, site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.pages = {"/": page("Home", "/a", "/b", "/c")}
    site.pages |= {f"/{name}": page(name.upper()) for name in "abc"}
    opened = project(site.url, **FAST)
    calls = itertools.count()

    def stop_at_the_third(self: StageRun) -> None:
        if next(calls) == 2:
            raise Cancelled("Stopped on request.")

    with monkeypatch.context() as patch:
        patch.setattr(StageRun, "check", stop_at_the_third)
        with pytest.raises(Cancelled):
            collect(opened)
    (journal,) = (opened.state / "work").rglob("crawl-*.jsonl")
    assert "Text of" not in journal.read_text()  # scratch files are sealed too
    with journal.open("a") as file:
        file.write('{"url": "torn by the crash')
    site.asked.clear()
    collect(opened)
    assert len(taken(opened)) == 4
    assert "/" not in site.paths
    assert len(site.paths) == len(set(site.paths)) <= 3  # robots.txt and what was missing


def test_an_unreachable_site_is_a_clear_error(project: Opened) -> None:
    with pytest.raises(BadSource, match=r"robots\.txt cannot be read"):
        collect(project("http://127.0.0.1:9/", **FAST))


def test_a_busy_server_is_asked_again_after_the_time_it_names(project: Opened, site: Any) -> None:
    busy = iter([True])

    async def once_busy(request: web.Request) -> web.Response:
        if next(busy, False):
            return web.Response(status=503, headers={"Retry-After": "0"})
        return web.Response(text=page("Home"), content_type="text/html")

    site.pages = {"/": once_busy}
    opened = project(site.url, **FAST)
    collect(opened)
    assert taken(opened) == {f"{site.url}/": "Home"}


def test_what_publishers_say_about_use_is_kept(project: Opened, site: Any) -> None:
    robots = "User-agent: *\nContent-Usage: train-ai=y\nContent-Usage: /no train-ai=n\nAllow: /\n"
    meta = '<meta name="tdm-reservation" content="1"><meta name="robots" content="noai, noimageai">'
    site.pages = {
        "/robots.txt": answer(text=robots),
        "/": page("Home", "/no/a", "/meta", "/header"),
        "/no/a": page("A"),
        "/meta": f"<title>M</title>{meta}<p>Text of a page.</p>",
        "/header": answer(
            text="<title>H</title><p>Text of a page.</p>",
            content_type="text/html",
            headers={"Content-Usage": "train-ai=n, search=y", "TDM-Reservation": "1"},
        ),
    }
    opened = project(site.url, requests_per_second=500.0)
    collect(opened)
    rows = opened.lake.table("raw").read(["uri", "usage"]).to_pylist()
    found = {row["uri"].removeprefix(site.url): row["usage"] for row in rows}
    assert found == {
        "/": "train-ai=y",
        "/no/a": "train-ai=n",
        "/meta": "noai; noimageai; tdm-reservation=1; train-ai=y",
        "/header": "search=y; tdm-reservation=1; train-ai=n; train-ai=y",
    }


def test_sitemaps_and_feeds_lead_to_pages(project: Opened, site: Any) -> None:
    def listing(text: str, kind: str = "application/xml") -> Callable[[web.Request], Any]:
        return answer(text=text, content_type=kind)

    feed = '<link rel="alternate" type="application/rss+xml" href="/feed">'
    site.pages = {
        "/robots.txt": answer(text=f"Sitemap: {site.url}/map.xml\n"),
        "/": f"<title>Home</title>{feed}<p>Text.</p>",
        "/map.xml": listing(
            f'<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><sitemap>'
            f"<loc>{site.url}/one.xml.gz</loc></sitemap></sitemapindex>"
        ),
        "/one.xml.gz": answer(
            body=gzip.compress(f"<urlset><url><loc>{site.url}/a</loc></url></urlset>".encode()),
            content_type="application/gzip",
        ),
        "/feed": listing(f"<rss><channel><item><link>{site.url}/b</link></item>", "text/xml"),
        "/a": page("A"),
        "/b": page("B"),
    }
    opened = project(site.url, requests_per_second=500.0)
    collect(opened)
    assert taken(opened) == {
        f"{site.url}/{name}": name.upper() or "Home" for name in ("", "a", "b")
    }
    assert refused(opened) == {}


def test_a_crawl_writes_an_archive_that_reads_back(project: Opened, site: Any) -> None:
    site.pages = {"/": page("Home", "/a"), "/a": page("A")}
    opened = project(site.url, requests_per_second=500.0, warc_folder="warcs")
    collect(opened)
    (archive,) = (opened.root / "warcs").glob("*.warc.gz")
    found = {item.uri.partition("!/")[2]: item for item in read_container(archive, "w", 10**6)}
    assert {url: item.title for url, item in found.items()} == taken(opened)
    data = archive.read_bytes()
    archive.write_bytes(data[: len(data) - 40])
    cut = list(read_container(archive, "w", 10**6))
    assert cut[0].title == "Home"
    assert cut[-1].reason.startswith("damaged")
