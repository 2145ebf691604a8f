"""A polite crawl of one site.

One request at a time and no faster than the site asks; robots.txt first; links on the same host
only; pages seen before are asked for only if they changed. Every address that is not taken says
why, and every page is in the journal before the next is asked for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Final

import aiohttp

from undercroft.collect.documents import HTML, MARKDOWN, PDF, PLAIN, Earlier, NothingEarlier
from undercroft.collect.journal import Journal, Visit
from undercroft.collect.polite import (
    MAX_REDIRECTS,
    RETRIED,
    Pace,
    body_of,
    is_transient,
    of_transport,
    retry_after_s,
    session_of,
)
from undercroft.collect.robots import Robots, fetch_robots
from undercroft.collect.text import Unreadable, decode_html
from undercroft.collect.urls import (
    Page,
    canonical,
    links_of_listing,
    obey,
    read_page,
    same_site,
)
from undercroft.collect.usage import of_headers, told
from undercroft.collect.warc import Archive
from undercroft.settings import CollectSettings

_HTML_TYPES: Final = (HTML, "application/xhtml+xml")
_LISTING_TYPES: Final = frozenset(
    f"{kind}/{name}"
    for kind in ("application", "text")
    for name in ("xml", "rss+xml", "atom+xml", "gzip", "x-gzip")
)
_TAKEN_TYPES: Final = (*_HTML_TYPES, PLAIN, MARKDOWN, "text/x-markdown", PDF)
_MAX_RETRY_AFTER_S: Final = 30.0
_MAX_LINKS: Final = 2_000  # of one page; more are a trap
_MAX_LISTED: Final = 50_000  # of one sitemap, as sitemaps.org has it


@dataclass
class Crawl:
    """The crawl that begins at ``start`` (in its canonical spelling).

    ``earlier`` knows the pages of an earlier crawl and ``payload_of`` gives what one of
    them held, for its links when the server says that it has not changed.
    """

    start: str
    params: CollectSettings
    journal: Journal
    earlier: Earlier = field(default_factory=NothingEarlier)
    payload_of: Callable[[str], bytes] = lambda _uri: b""
    archive: Archive | None = None
    _seen: set[str] = field(default_factory=set[str])
    _waiting: deque[tuple[str, int]] = field(default_factory=deque[tuple[str, int]])
    _robots: Robots = field(default_factory=Robots)
    _pace: Pace = field(default_factory=Pace)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    async def visits(self) -> AsyncIterator[Visit]:
        """Every address visited, those of an interrupted attempt first."""
        self._note(self.start, 0)
        fetched = 0
        for visit in self.journal.visits():
            self._settle(visit)
            fetched += not visit.reason.startswith("robots")
            yield visit
        async with session_of(self.params) as session:
            if self._waiting:
                self._robots = await fetch_robots(session, self.start)
                for sitemap in self._robots.sitemaps:
                    place = canonical(sitemap, self.start)
                    if place is not None and same_site(place, self.start):
                        self._note(place, 0)
            while self._waiting and fetched < self.params.max_pages:
                url, depth = self._waiting.popleft()
                visit = self._or_as_before(await self._visit(session, url, depth))
                fetched += not visit.reason.startswith("robots")
                self.journal.append(visit)
                self._settle(visit)
                yield visit

    def _note(self, url: str, depth: int) -> None:
        if url not in self._seen:
            self._seen.add(url)
            self._waiting.append((url, depth))

    def _settle(self, visit: Visit) -> None:
        """Take ``visit`` off the waiting list and put what it leads to on it."""
        self._seen.update((visit.url, visit.final_url or visit.url))
        if (visit.url, visit.depth) in self._waiting:
            self._waiting.remove((visit.url, visit.depth))
        if visit.depth < self.params.max_depth:
            for link in visit.links:
                self._note(link, visit.depth + 1)

    async def _visit(self, session: aiohttp.ClientSession, url: str, depth: int) -> Visit:
        """Fetch ``url`` through its redirects; any failure is a rejected visit."""
        here = url
        try:
            for _ in range(MAX_REDIRECTS + 1):
                refusal = self._robots.refusal(here, self.params.user_agent)
                if refusal:
                    return Visit(url, depth, "rejected", here, refusal)
                answer = await self._fetch(session, here, url, depth)
                if isinstance(answer, Visit):
                    return answer
                if not same_site(answer, self.start):
                    reason = f"redirect_out: it leads to another host, {answer}"
                    return Visit(url, depth, "rejected", here, reason)
                here = answer
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            reason = of_transport(error, self.params.timeout_s)
            return Visit(url, depth, "rejected", here, reason)
        return Visit(url, depth, "rejected", here, f"redirects: more than {MAX_REDIRECTS}")

    def _or_as_before(self, visit: Visit) -> Visit:
        """A page that was taken before is not lost to a server's bad moment."""
        before = self.earlier.get(visit.final_url) or self.earlier.get(visit.url)
        if before is None or not before.is_ok or not is_transient(visit.reason):
            return visit
        return self._unchanged(visit.url, visit.depth, before.uri)

    def _unchanged(self, url: str, depth: int, here: str) -> Visit:
        links: tuple[str, ...] = ()
        before = self.earlier.get(here)
        if before is not None and before.mime in _HTML_TYPES:
            page = self._page(self.payload_of(here), here, "utf-8")
            links = self._followed(page)
        return Visit(url, depth, "unchanged", here, links=links)

    def _followed(self, page: Page) -> tuple[str, ...]:
        return tuple(link for link in page.links if same_site(link, self.start))[:_MAX_LINKS]

    async def _fetch(
        self, session: aiohttp.ClientSession, here: str, url: str, depth: int
    ) -> Visit | str:
        """One address: what it gives, or where it redirects to."""
        for attempt in (1, 2):
            await self._wait()
            headers = self._conditions(here)
            async with session.get(here, headers=headers, allow_redirects=False) as response:
                if response.status in RETRIED and attempt == 1:
                    asked = retry_after_s(response)
                    pause = min(1.0 if asked is None else asked, _MAX_RETRY_AFTER_S)
                elif 300 <= response.status < 400 and response.status != 304:
                    target = canonical(response.headers.get("Location", ""), here)
                    return target or _rejected(response, url, depth, here)
                else:
                    return await self._take(response, url, depth, here)
            await asyncio.sleep(pause)
        raise AssertionError("the second attempt returns")

    async def _take(
        self, response: aiohttp.ClientResponse, url: str, depth: int, here: str
    ) -> Visit:
        if response.status == 304:
            return self._unchanged(url, depth, here)
        if response.status != 200:
            return _rejected(response, url, depth, here)
        if response.content_type in _LISTING_TYPES:
            return await self._listing(response, url, depth, here)
        reason, body = "", None
        if response.content_type not in _TAKEN_TYPES:
            reason = f"content_type: {response.content_type} is no document"
        elif (body := await body_of(response, self._limit)) is None:
            reason = f"too_large: it is over {self.params.max_file_mb:g} MB"
        if body is None:
            return Visit(url, depth, "rejected", here, reason)
        return self._page_of(response, body, Visit(url, depth, "ok", here))

    def _page_of(self, response: aiohttp.ClientResponse, body: bytes, visit: Visit) -> Visit:
        """The visit to a page with ``body``; rejected where the page asks not to be taken."""
        here, page = visit.final_url, Page()
        if response.content_type in _HTML_TYPES:
            page = self._page(body, here, response.charset or "")
        headers = {name.lower(): value for name, value in response.headers.items()}
        obey(page, headers.get("x-robots-tag", ""))
        links = self._followed(page) if page.is_follow else ()
        if not page.is_index:
            reason = "noindex: the page asks not to be taken"
            return replace(visit, outcome="rejected", reason=reason, links=links)
        if self.archive is not None:
            status = f"{response.status} {response.reason}"
            self.archive.add(here, status, response.headers, body)
        return replace(
            visit,
            mime=response.content_type,
            charset=response.charset or "",
            etag=response.headers.get("ETag", ""),
            last_modified=response.headers.get("Last-Modified", ""),
            size_bytes=len(body),
            links=links,
            usage=told(
                page.usage, of_headers(headers), self._robots.usage(here, self.params.user_agent)
            ),
            body=body,
        )

    async def _listing(
        self, response: aiohttp.ClientResponse, url: str, depth: int, here: str
    ) -> Visit:
        """A sitemap or a feed: no document, but where to find some."""
        body = await body_of(response, self._limit)
        found = links_of_listing(body, here) if body else []
        links = tuple(link for link in found if same_site(link, self.start))[:_MAX_LISTED]
        return Visit(url, depth, "listing", here, links=links)

    @property
    def _limit(self) -> int:
        return int(self.params.max_file_mb * 1e6)

    async def _wait(self) -> None:
        """Keep the distance between requests that the settings and the site ask for."""
        interval = max(
            1.0 / self.params.requests_per_second, self._robots.interval_s(self.params.user_agent)
        )
        await self._pace.keep(interval)

    def _conditions(self, url: str) -> dict[str, str]:
        before = self.earlier.get(url)
        if before is None or not before.is_ok:
            return {}
        conditions = {"If-None-Match": before.etag, "If-Modified-Since": before.last_modified}
        return {name: value for name, value in conditions.items() if value}

    def _page(self, body: bytes, url: str, charset: str) -> Page:
        try:
            return read_page(decode_html(body, charset), url)
        except Unreadable:
            return Page()


def _rejected(response: aiohttp.ClientResponse, url: str, depth: int, here: str) -> Visit:
    reason = f"http_{response.status}: the server answers {response.status} {response.reason}"
    return Visit(url, depth, "rejected", here, reason.rstrip())
