"""Sites, stores and clocks that misbehave: every crawl ends, and nothing is lost or repeated."""

from __future__ import annotations

import http.client
import itertools
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiohttp import web

from tests.collect.test_crawl import FAST, page, refused, taken
from tests.collect.test_files import gathered
from tests.collect.test_store import bucket, server  # noqa: F401
from undercroft.collect import stage
from undercroft.collect.site import Site
from undercroft.collect.stage import collect
from undercroft.collect.urls import canonical
from undercroft.project import Project

Opened = Callable[..., Project]


def anything(site: Any, made: Callable[[web.Request], web.Response]) -> None:
    """Every address of ``site`` but robots.txt is answered by ``made``."""

    class Everywhere(dict[str, object]):
        def get(self, path: str, _default: object = None) -> object:
            async def respond(request: web.Request) -> web.Response:
                return made(request)

            return None if path == "/robots.txt" else respond

    site.pages = Everywhere()


def shown(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/html")


def test_a_calendar_without_end_takes_no_more_than_its_pages(project: Opened, site: Any) -> None:
    def month(request: web.Request) -> web.Response:
        number = int(request.query.get("month", "0"))
        days = [f"/day/{number}/{day}" for day in range(31)]
        return shown(page(request.path_qs, f"/?month={number + 1}", f"/?month={number - 1}", *days))

    anything(site, month)
    opened = project(site.url, max_pages=15, **FAST)
    collect(opened)
    assert len(taken(opened)) == 15
    assert len(site.asked) == 16  # and robots.txt


def test_ids_of_sessions_in_addresses_make_no_new_pages(project: Opened, site: Any) -> None:
    ids = itertools.count()

    def with_ids(request: web.Request) -> web.Response:
        def link(path: str) -> str:
            return f"{path}?PHPSESSID={next(ids):032x}&id=7"

        return shown(page(request.path, *map(link, ("/a", "/b", "/c"))))

    anything(site, with_ids)
    opened = project(site.url, **FAST)
    collect(opened)
    expected = {"/", "/a?id=7", "/b?id=7", "/c?id=7"}
    assert {address.removeprefix(site.url) for address in taken(opened)} == expected


@pytest.mark.parametrize(
    ("url", "spelling"),
    [
        ("http://a/x;jsessionid=0A1B.node1?y=2", "http://a/x?y=2"),
        ("http://a/x?sid=0123456789abcdef0123", "http://a/x"),
        ("http://a/x?sid=7&ASPSESSIONIDAB=C", "http://a/x?sid=7"),
    ],
)
def test_a_session_is_no_part_of_an_address(url: str, spelling: str) -> None:
    assert canonical(url) == spelling


def test_a_redirect_without_end_is_a_refusal(project: Opened, site: Any) -> None:
    def further(request: web.Request) -> web.Response:
        if request.path == "/":
            return shown(page("Home", "/step/0", "/loop"))
        number = int(request.path.rpartition("/")[2]) + 1 if "step" in request.path else 0
        target = f"/step/{number}" if "step" in request.path else "/loop"
        return web.Response(status=302, headers={"Location": target})

    anything(site, further)
    opened = project(site.url, **FAST)
    collect(opened)
    assert len(taken(opened)) == 1
    codes = {address.removeprefix(site.url): code for address, code in refused(opened).items()}
    assert codes == {"/step/0": "redirects", "/loop": "redirects"}
    assert len(site.asked) < 20


# --- a store that asks for patience --------------------------------------------------------------

SLOW_DOWN = b"""<?xml version="1.0"?><Error><Code>SlowDown</Code>
<Message>Please reduce your request rate.</Message></Error>"""


class Busy(ThreadingHTTPServer):
    """Stands before an S3 server and refuses each request that ``refuses`` says so about."""

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.behind = behind.removeprefix("http://")
        self.asked = Counter[str]()
        self.refuses: Callable[[str, int], bool] = lambda _path, _times: False


class Passing(BaseHTTPRequestHandler):
    server: Busy

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked[path] += 1
        if self.server.refuses(path, self.server.asked[path]):
            self._answer(503, "application/xml", SLOW_DOWN)
            return
        connection = http.client.HTTPConnection(self.server.behind)
        kept = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        connection.request(self.command, self.path, headers=kept)
        answer = connection.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "server", "date"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        connection.close()

    do_HEAD = do_GET

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command != "HEAD" else b"")

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def busy(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Busy]:  # noqa: F811
    running = Busy(os.environ["AWS_ENDPOINT_URL"])
    threading.Thread(target=running.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{running.server_address[1]}")
    yield running
    running.shutdown()
    running.server_close()


def test_a_store_that_is_busy_for_a_moment_is_asked_again(project: Opened, busy: Busy) -> None:
    busy.refuses = lambda _path, times: times == 1
    found = gathered(project("s3://docs/guide"))
    assert len(found) == 4
    assert not any(said == "unreadable" for said in found.values())
    assert busy.asked["/docs/guide/a.md"] > 1


def test_an_object_that_stays_busy_is_a_refusal_and_the_others_come_in(
    project: Opened, busy: Busy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "RETRY_S", 0.001)
    opened = project("s3://docs/guide")
    busy.refuses = lambda path, _times: path.endswith("a.md")
    found = gathered(opened)
    assert found.pop("s3://docs/guide/a.md") == "unreadable"
    assert len(found) == 3
    busy.refuses = lambda _path, _times: False
    assert gathered(opened)["s3://docs/guide/a.md"].startswith("# A")
    asked = busy.asked.total()
    assert gathered(opened)["s3://docs/guide/a.md"].startswith("# A")
    assert busy.asked.total() - asked <= 3  # it is listed, and nothing is fetched


# --- clocks --------------------------------------------------------------------------------------


def test_files_from_the_future_and_the_past_are_read_once_and_when_they_change(
    project: Opened,
) -> None:
    opened = project("docs")
    path = opened.root / "docs" / "a.md"
    path.parent.mkdir()
    for text, seconds in (("now", 2_000_000_000), ("later", 9_000_000_000), ("before", 0)):
        path.write_text(f"# Title\n\nThe text of {text}.")
        os.utime(path, (seconds, seconds))
        assert gathered(opened)["docs/a.md"].endswith(f"The text of {text}.")
        version = opened.lake.table("raw").version
        gathered(opened)
        assert opened.lake.table("raw").version == version


def test_a_clock_set_back_neither_stops_a_crawl_nor_repeats_it(
    project: Opened, site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import UTC, datetime, timedelta

    from undercroft.collect import site as module

    class Clock(datetime):
        ahead = timedelta()

        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(UTC) + cls.ahead

    monkeypatch.setattr(module, "datetime", Clock)
    start = f"{site.url}/"
    site.pages = {"/": page("Home")}
    prints = []
    for days in (0, 3650, -3650):
        Clock.ahead = timedelta(days=days)
        prints += [Site(start).fingerprint(), Site(start).fingerprint()]
        opened = project(start, **FAST)
        collect(opened)
        assert taken(opened) == {start: "Home"}
    assert prints[0::2] == prints[1::2]
    assert len(set(prints)) == 3
