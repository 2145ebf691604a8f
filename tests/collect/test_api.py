"""Paged APIs against a real server: every way to the next page, and what goes wrong on it."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.collect.test_crawl import answer
from tests.collect.test_files import gathered
from undercroft.collect.paging import at_home, items_of, next_of, reading_of, tells_its_end
from undercroft.collect.stage import collect
from undercroft.errors import BadSource, Cancelled
from undercroft.project import Project
from undercroft.stage import StageRun
from undercroft.up import find_target

Opened = Callable[..., Project]
Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]
FAST = {"requests_per_second": 500.0, "timeout_s": 5.0}


@pytest.fixture
def again() -> Callable[..., dict[str, Any]]:
    """Settings that the memory of earlier runs does not know, for another run."""
    rates = iter(range(600, 700))
    return lambda: {**FAST, "requests_per_second": float(next(rates))}


def item(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": number, "text": f"What item {number} says.", **fields}


def paged(*pages: list[Any]) -> Answering:
    """Answers with arrays, each with a Link header to the one after it."""

    async def respond(request: web.Request) -> web.Response:
        at = int(request.query.get("page", "1"))
        links = [f'<{request.path}?page=1>; rel="first"']
        if at < len(pages):
            link = f"<{request.path}?page={at + 1}>"
            links += [f'{link}; title="on, and on"; rel="last Next"']
        return web.json_response(pages[at - 1], headers={"Link": ", ".join(links)})

    return respond


def texts(site: Any, *numbers: int) -> dict[str, str]:
    return {f"api:{site.url}/items#{n}": f"What item {n} says." for n in numbers}


def test_pages_follow_by_link_header(project: Opened, site: Any) -> None:
    site.pages = {"/items": paged([item(1), item(2)], [item(3)], [item(4)])}
    opened = project(f"api:{site.url}/items", **FAST)
    assert gathered(opened) == texts(site, 1, 2, 3, 4)
    assert len(site.asked) == 3


def test_pages_follow_by_a_cursor(project: Opened, site: Any) -> None:
    async def respond(request: web.Request) -> web.Response:
        at = int(request.query.get("cursor", "x0")[1:])
        after = f"x{at + 1}" if at < 2 else None
        page = {"total": 3, "data": {"rows": [item(at)]}, "meta": {"next_cursor": after}}
        return web.json_response(page)

    site.pages = {"/items": respond}
    assert gathered(project(f"api:{site.url}/items", **FAST)) == texts(site, 0, 1, 2)


@pytest.mark.parametrize("past", [200, 404])
def test_pages_follow_by_number(project: Opened, site: Any, past: int) -> None:
    sizes = []

    async def respond(request: web.Request) -> web.Response:
        at, size = int(request.query.get("p", "1")), request.query["n"]
        sizes.append(size)
        if at > 2 and past == 404:
            return web.json_response({"error": "no such page"}, status=404)
        return web.json_response({"results": [item(at)] if at <= 2 else []})

    site.pages = {"/items": respond}
    assert gathered(project(f"api:{site.url}/items#page=p&size=n", **FAST)) == texts(site, 1, 2)
    assert sizes == ["100"] * 3


def test_pages_follow_by_offset(project: Opened, site: Any) -> None:
    every = [item(n) for n in range(5)]

    async def respond(request: web.Request) -> web.Response:
        start = int(request.query.get("start", "0"))
        return web.json_response(every[start : start + 2])

    site.pages = {"/items": respond}
    assert gathered(project(f"api:{site.url}/items#offset=start", **FAST)) == texts(site, *range(5))


def test_what_an_item_says_of_itself_is_taken_over(project: Opened, site: Any) -> None:
    fields = {
        "licence": "CC0-1.0",
        "consent": "agreed",
        "subject": "somebody",
        "author": {"title": "no title of the item"},
        "name": {"long": "The first"},
        "slug": "first",
        "about": {"story": "A story of a first item."},
    }
    page = {"facets": [{"text": "no item"}], "news": {"articles": [fields]}}
    site.pages = {"/items": answer(text=json.dumps(page), content_type="application/json")}
    said = "items=news.articles&text=about.story&id=slug&title=name.long"
    opened = project(f"api:{site.url}/items?lang=en#{said}", **FAST)
    address = f"api:{site.url}/items?lang=en#news.articles#first"
    assert gathered(opened) == {address: "A story of a first item."}
    columns = ["title", "licence", "consent", "subject"]
    (row,) = opened.lake.table("raw").read(columns).to_pylist()
    assert list(row.values()) == ["The first", "CC0-1.0", "agreed", "somebody"]


def test_a_second_run_takes_only_what_changed(
    project: Opened, site: Any, again: Callable[..., dict[str, Any]]
) -> None:
    site.pages = {"/items": paged([item(1), item(2)], [item(3), {"text": "It has no id."}])}
    spec = f"api:{site.url}/items"
    before = gathered(project(spec, **FAST))
    opened = project(spec, **again())
    version = opened.lake.table("raw").version
    assert gathered(opened) == before
    assert opened.lake.table("raw").version == version

    def times() -> dict[str, Any]:
        rows = opened.lake.table("raw").read(["uri", "fetched_at"]).to_pylist()
        return {row["uri"]: row["fetched_at"] for row in rows}

    taken = times()
    changed = item(2, text="It says something else now.")
    site.pages = {"/items": paged([{"text": "It has no id."}, item(4)], [item(3), changed])}
    opened = project(spec, **again())
    two, four = f"{spec}#2", f"{spec}#4"
    kept = {uri: text for uri, text in before.items() if uri != f"{spec}#1"}
    assert gathered(opened) == {**kept, two: changed["text"], **texts(site, 4)}
    assert {uri for uri, at in times().items() if taken.get(uri) != at} == {two, four}


def test_an_api_is_asked_once_in_the_refresh_time(project: Opened, site: Any) -> None:
    site.pages = {"/items": paged([item(1)])}
    opened = project(f"api:{site.url}/items", refresh_hours=1e6, **FAST)
    collect(opened)
    collect(opened)
    assert len(site.asked) == 1


@pytest.mark.parametrize("is_told", [True, False])
def test_an_unchanged_page_that_is_all_there_is_is_not_sent_again(
    project: Opened, site: Any, again: Callable[..., dict[str, Any]], is_told: bool
) -> None:
    """Only where the page itself would say that another one follows: a header alone would not
    change its ETag."""
    sent = []

    async def respond(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") == '"v1"':
            return web.Response(status=304)
        sent.append(request.path)
        page: Any = {"items": [item(1), item(2)], "next": None} if is_told else [item(1), item(2)]
        return web.json_response(page, headers={"ETag": '"v1"'})

    site.pages = {"/items": respond}
    spec = f"api:{site.url}/items"
    assert gathered(project(spec, **FAST)) == texts(site, 1, 2)
    assert gathered(project(spec, **again())) == texts(site, 1, 2)
    assert len(sent) == (1 if is_told else 2)
    gathered(project(spec, licence="CC-BY-4.0", **again()))  # on other grounds it is read again
    assert len(sent) == (2 if is_told else 3)


def test_a_killed_run_goes_on_where_it_was(
    project: Opened, site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = [[item(n)] for n in range(4)]
    wanted: list[str] = []

    async def respond(request: web.Request) -> web.StreamResponse:
        wanted.append(request.query.get("page", "1"))
        return await paged(*pages)(request)

    site.pages = {"/items": respond}
    opened = project(f"api:{site.url}/items", **FAST)

    def stop_at_the_third(self: StageRun) -> None:
        if len(wanted) == 3:
            raise Cancelled("Stopped on request.")

    with monkeypatch.context() as patch:
        patch.setattr(StageRun, "check", stop_at_the_third)
        with pytest.raises(Cancelled):
            collect(opened)
    (journal,) = (opened.state / "work").rglob("api-*.jsonl")
    assert "What item" not in journal.read_text()  # sealed
    with journal.open("a") as file:
        file.write('{"url": "torn by the crash')
    assert gathered(opened) == texts(site, 0, 1, 2, 3)
    assert wanted == ["1", "2", "3", "4"]


def test_a_busy_server_is_asked_again_after_the_time_it_names(project: Opened, site: Any) -> None:
    busy = iter(["1", "Thu, 01 Jan 1970 00:00:00 GMT", "0"])
    statuses = iter([429, 503, 403])

    async def respond(request: web.Request) -> web.StreamResponse:
        wait = next(busy, None)
        if wait is not None:
            return web.Response(status=next(statuses), headers={"Retry-After": wait})
        return await paged([item(1)])(request)

    site.pages = {"/items": respond}
    started = time.monotonic()
    assert gathered(project(f"api:{site.url}/items", **FAST)) == texts(site, 1)
    assert time.monotonic() - started >= 1.0
    assert len(site.asked) == 4


def test_a_server_that_stays_busy_is_left_alone_and_gone_on_with(
    project: Opened, site: Any
) -> None:
    is_busy = True

    async def respond(request: web.Request) -> web.StreamResponse:
        if is_busy and "page" in request.query:
            return web.Response(status=429, headers={"Retry-After": "0"})
        return await paged([item(1)], [item(2)])(request)

    site.pages = {"/items": respond}
    opened = project(f"api:{site.url}/items", **FAST)
    with pytest.raises(BadSource, match=r"Page 2 of .* 429 .* 4 times"):
        collect(opened)
    assert len(site.asked) == 5
    is_busy = False
    assert gathered(opened) == texts(site, 1, 2)
    assert len(site.asked) == 6
    site.pages = {"/items": answer(status=503, headers={"Retry-After": "7200"})}
    with pytest.raises(BadSource, match="asks to wait for 7200 s"):
        collect(project(f"api:{site.url}/items?other", **FAST))
    assert len(site.asked) == 7


def test_bad_items_lose_nothing_else(project: Opened, site: Any) -> None:
    bad = [
        "a string",
        7,
        {"id": "mute"},
        {"id": "b", "text": " "},
        {"id": "\ud800", "text": "X\ud800"},
    ]
    site.pages = {"/items": paged([item(1), *bad], [item(2), item(1), {"text": {"no": "string"}}])}
    opened = project(f"api:{site.url}/items", **FAST)
    found = gathered(opened)
    codes = [text for text in found.values() if not text.startswith("What")]
    assert sorted(codes) == ["X?", "empty", "no_text", "no_text", "not_object", "not_object"]
    assert texts(site, 1, 2).items() <= found.items()
    assert len(found) == len(codes) + 2  # what is on two pages is one document
    assert f"api:{site.url}/items#?" in found


def test_the_field_that_is_named_is_the_only_one_that_is_read(project: Opened, site: Any) -> None:
    site.pages = {"/items": paged([item(1, story="The story."), item(2)])}
    opened = project(f"api:{site.url}/items#text=story", **FAST)
    name = f"api:{site.url}/items"
    assert gathered(opened) == {f"{name}#1": "The story.", f"{name}#2": "no_text"}


def test_the_token_is_sent_and_not_told(
    project: Opened, site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, token = f"api:{site.url}/items#token=API_TOKEN", "s3cr3t-0f-n0b0dy"
    opened = project(spec, **FAST)
    with pytest.raises(BadSource, match="API_TOKEN is not set"):
        collect(opened)
    monkeypatch.setenv("API_TOKEN", token)
    site.pages = {"/items": answer(status=401)}
    with pytest.raises(BadSource, match=r"401.*#token=NAME") as failure:
        collect(opened)
    site.pages = {"/items": paged([item(1)], [item(2)])}
    assert gathered(opened) == texts(site, 1, 2)
    assert len(site.asked) == 3
    assert {headers["Authorization"] for _, headers in site.asked} == {f"Bearer {token}"}
    assert token not in str(failure.value)
    files = [file for file in opened.root.rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if token.encode() in file.read_bytes()]
    monkeypatch.setenv("API_TOKEN", f"{token}\r\nX-Other: 1")
    with pytest.raises(BadSource) as failure:
        collect(project(spec, **{**FAST, "timeout_s": 6.0}))
    assert token not in str(failure.value)


def test_a_last_page_that_names_itself_is_the_last(
    project: Opened, site: Any, again: Callable[..., dict[str, Any]]
) -> None:
    for number in (1, 2):
        page = {"items": [item(number)], "next": "/items"}
        site.pages = {"/items": answer(text=json.dumps(page), content_type="application/json")}
        found = gathered(project(f"api:{site.url}/items", **again()))
        assert found == {**texts(site, number), f"api:{site.url}/items#page-2": "loop"}


@pytest.mark.parametrize(
    ("target", "code", "num_asked"),
    [
        ("{url}/items", "loop", 1),
        ("{url}/items?page=9", "loop", 2),  # another address that says the same
        ("http://elsewhere.invalid/items", "next_out", 1),
        ("//elsewhere.invalid/items", "next_out", 1),
        ("{other}/items", "next_out", 1),  # by another name: it would answer
        ("file:///etc/passwd", "next_address", 1),
        ("{url}/away", "redirect_out", 2),
    ],
)
def test_a_next_page_that_leads_astray_is_refused(
    project: Opened, site: Any, target: str, code: str, num_asked: int
) -> None:
    other = site.url.replace("127.0.0.1", "localhost")
    page = {"items": [item(1)], "next": target.format(url=site.url, other=other)}
    away = answer(status=302, headers={"Location": "http://elsewhere.invalid/items"})
    site.pages = {
        "/items": answer(text=json.dumps(page), content_type="application/json"),
        "/away": away,
    }
    opened = project(f"api:{site.url}/items", **FAST)
    name = f"api:{site.url}/items"
    assert gathered(opened) == {**texts(site, 1), f"{name}#page-2": code}
    assert len(site.asked) == num_asked


def test_an_empty_api_is_asked_again_at_the_next_attempt(project: Opened, site: Any) -> None:
    site.pages = {"/items": paged([])}
    opened = project(f"api:{site.url}/items", **FAST)
    with pytest.raises(BadSource, match="no items"):
        collect(opened)
    site.pages = {"/items": paged([item(1)])}
    assert gathered(opened) == texts(site, 1)


def test_pages_are_limited(project: Opened, site: Any) -> None:
    site.pages = {"/items": paged(*[[item(n)] for n in range(9)])}
    opened = project(f"api:{site.url}/items", max_pages=3, **FAST)
    found = gathered(opened)
    assert found.pop(f"api:{site.url}/items#page-4") == "max_pages"
    assert found == texts(site, 0, 1, 2)
    assert len(site.asked) == 3


def test_an_unreachable_api_keeps_what_is_known(
    project: Opened, site: Any, again: Callable[..., dict[str, Any]]
) -> None:
    site.pages = {"/items": paged([item(1)], [item(2)])}
    opened = project(f"api:{site.url}/items", "notes.md", **FAST)
    (opened.root / "notes.md").write_text("Notes beside the API.")
    before = gathered(opened)
    site.pages = {"/items": answer(status=503, headers={"Retry-After": "0"})}
    opened = project(f"api:{site.url}/items", "notes.md", **again())
    assert gathered(opened) == before


def test_pages_that_are_not_reached_take_nothing_back(
    project: Opened, site: Any, again: Callable[..., dict[str, Any]]
) -> None:
    site.pages = {"/items": paged([item(1)], [item(2)])}
    spec = f"api:{site.url}/items"
    gathered(project(spec, **FAST))

    async def broken(request: web.Request) -> web.StreamResponse:
        if "page" in request.query:
            return web.Response(text="{", content_type="application/json")
        return await paged([item(3)], [])(request)

    site.pages = {"/items": broken}
    found = gathered(project(spec, **again()))
    assert found == {**texts(site, 1, 2, 3), f"{spec}#page-2": "bad_json"}
    site.pages = {"/items": paged([item(3)], [item(4)])}
    assert gathered(project(spec, **again())) == texts(site, 3, 4)


JSON = "application/json"
NO_API: dict[str, dict[str, Any]] = {
    r"It is not JSON \(": {"text": "{oops", "content_type": JSON},
    "It is not JSON.*recursion": {"text": "[" * 100_000, "content_type": JSON},
    "a web page": {"text": "<!doctype html><p>Sign in", "content_type": "text/html"},
    "fields are detail": {"text": '{"detail": "x"}', "content_type": JSON},
    "over 1 MB": {"text": '["' + "x" * 1_100_000 + '"]', "content_type": JSON},
    "401 .*token": {"status": 401},
    "403 .*token": {"status": 403},
    "404 Not Found": {"status": 404},
    "more than 5": {"status": 302, "headers": {"Location": "/redirects"}},
    "another host": {"status": 302, "headers": {"Location": "http://elsewhere.invalid/"}},
    "to nowhere": {"status": 302},
}


def test_what_is_no_api_is_one_clear_error(project: Opened, site: Any) -> None:
    site.pages = {f"/{at}": answer(**page) for at, page in enumerate(NO_API.values())}
    site.pages["/redirects"] = answer(status=302, headers={"Location": "/redirects"})
    for at, said in enumerate(NO_API):
        with pytest.raises(BadSource, match=said) as failure:
            collect(project(f"api:{site.url}/{at}", max_file_mb=1.0, **FAST))
        assert failure.value.what
        assert failure.value.why
        assert failure.value.do


def test_what_cannot_be_meant_or_reached_is_one_clear_error(project: Opened) -> None:
    for spec in (
        "api:ftp://host/x",
        "api:https://[broken/x",
        "api:https://host/x#colour=red",
        "api:https://host/x#page=p&offset=o",
        "api:https://somebody:hunter2@host/x",
        "api:http://127.0.0.1:9/items",
    ):
        with pytest.raises(BadSource) as failure:
            collect(project(spec, **FAST))
        assert "hunter2" not in str(failure.value)


def test_an_api_may_be_the_target_of_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = "api:https://host/v1/articles#text=body"
    opened = Project.open(find_target(spec))
    assert opened.settings.collect.sources == [spec]
    assert opened.name == "host-v1-articles"


HERE = "https://host/items?lang=en"


@pytest.mark.parametrize(
    ("page", "said", "following"),
    [
        ({"next": "/items?page=2"}, "", "/items?page=2"),
        ({"next": "abc/=="}, "", f"{HERE}&cursor=abc%2F%3D%3D"),
        ({"next": 2}, "", f"{HERE}&page=2"),
        ({"links": {"next": {"href": "?page=2"}}}, "", "?page=2"),
        ({"_links": {"next": {"href": "https://host/2"}}}, "", "https://host/2"),
        ({"paging": {"next": {"after": "7", "link": "https://host/7"}}}, "", "https://host/7"),
        ({"paging": {"next": {"after": "7"}}}, "", f"{HERE}&after=7"),
        ({"nextPageToken": "t"}, "", f"{HERE}&pageToken=t"),
        ({"@odata.nextLink": "https://host/x?$skip=2"}, "", "https://host/x?$skip=2"),
        ({"next_cursor": "n", "has_more": False}, "", ""),
        ({"next_cursor": 12}, "#cursor=from", f"{HERE}&from=12"),
        ({"next_cursor": 12}, "", f"{HERE}&cursor=12"),
        ({"a": {"b": "x"}, "next": "/no"}, "#next=a.b&cursor=c", f"{HERE}&c=x"),
        ({"a": {"b": None}, "next": "/no"}, "#next=a.b", ""),
        ({"next": True}, "", ""),
        ({"next": ""}, "", ""),
        ([], "", ""),
        ([], "#page=lang", "https://host/items?lang=2"),
        ([], "#offset=lang", "https://host/items?lang=3"),
    ],
)
def test_the_next_page_is_found_in_usual_places(page: Any, said: str, following: str) -> None:
    assert next_of(page, reading_of(f"api:{HERE}{said}"), HERE, 3, "") == following


def test_items_are_found_under_usual_names() -> None:
    reading, some = reading_of(f"api:{HERE}"), [{"id": 1}]
    assert items_of(some, reading) == some
    assert items_of({"other": some, "results": [{"id": 2}]}, reading) == [{"id": 2}]
    assert items_of({"facets": some, "results": []}, reading) == []
    assert items_of({"response": {"data": {"stories": some}}}, reading) == some
    assert items_of({"tags": ["a"], "stories": some}, reading) == some
    assert items_of({"tags": ["a"]}, reading) is None
    assert items_of("text", reading) is None
    assert tells_its_end({"paging": {"next": None}}, reading)
    assert not tells_its_end(some, reading)


@pytest.mark.parametrize(
    ("url", "home"),
    [
        ("https://host/x", "https://host/x"),
        ("http://host/x?u=http://y", "https://host/x?u=http://y"),
        ("http://host:8080/x", None),
        ("https://host.elsewhere.invalid/x", None),
        ("https://sub.host/x", None),
    ],
)
def test_a_token_goes_to_its_host_and_by_https(url: str, home: str | None) -> None:
    assert at_home(url, "https://host/items") == home
