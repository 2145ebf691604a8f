"""The pages of an API, one after the other.

No faster than the settings ask, waiting where the server asks for it, and on the host of the first
page only: no other gets to see the token. Every page is in the journal before the next is asked
for.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from undercroft.collect.documents import HTML
from undercroft.collect.journal import Journal, Visit
from undercroft.collect.paging import Reading, at_home, items_of, next_of, tells_its_end
from undercroft.collect.polite import (
    MAX_REDIRECTS,
    RETRIED,
    Pace,
    body_of,
    of_transport,
    retry_after_s,
    session_of,
)
from undercroft.collect.urls import canonical
from undercroft.collect.usage import of_headers, told
from undercroft.settings import CollectSettings

_ACCEPT: Final = "application/json, application/*+json;q=0.9, */*;q=0.1"
_ATTEMPTS: Final = 4
_FIRST_PAUSE_S: Final = 0.5  # doubled each time
_MAX_PAUSE_S: Final = 120.0  # who asks for longer is left alone
_MOST_NAMES: Final = 10  # of fields, in an error
_NO_CONTENT: Final = 204


class _Refused(Exception):
    """The page cannot be had; the text is the reason, as `Collected` has it."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came for an address, wherever its redirects led."""

    url: str
    status: int
    headers: dict[str, str]
    body: bytes
    linked: str


@dataclass
class Walk:
    """The pages that begin at ``reading.start``.

    ``token`` goes with every request. With an ``etag``, the first page is asked for only if it has
    changed.
    """

    reading: Reading
    params: CollectSettings
    journal: Journal
    token: str = ""
    etag: str = ""
    _ahead: str = ""
    _asked: set[str] = field(default_factory=set[str])
    _contents: set[bytes] = field(default_factory=set[bytes])
    _pace: Pace = field(default_factory=Pace)

    async def visits(self) -> AsyncIterator[Visit]:
        """Every page, those of an interrupted attempt first; its depth is its number.

        The last is ``unchanged`` where the server says so of the first page, and ``rejected``
        where the pages go on but cannot be followed.
        """
        self._ahead, number = self.reading.start, 1
        for visit in self.journal.visits():
            self._settle(visit)
            number = visit.depth + 1
            yield visit
        bearer = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        async with session_of(self.params, Accept=_ACCEPT, **bearer) as session:
            while self._ahead:
                found = await self._visit(session, self._ahead, number)
                if found is None:
                    return
                if found.outcome == "ok":
                    self.journal.append(found)
                    self._settle(found)
                yield found
                if found.outcome != "ok":
                    return
                number += 1

    def _settle(self, visit: Visit) -> None:
        self._asked.update((visit.url, visit.final_url))
        self._contents.add(hashlib.sha256(visit.body).digest())
        self._ahead = visit.links[0] if visit.links else ""

    async def _visit(self, session: aiohttp.ClientSession, url: str, number: int) -> Visit | None:
        """The page ``number``; None where there is none after all."""
        try:
            if number > self.params.max_pages:
                raise _Refused(f"max_pages: there are more pages than {self.params.max_pages}")
            answer = await self._followed(session, self._allowed(url), number)
            return self._page(answer, url, number)
        except _Refused as refusal:
            is_past = str(refusal).startswith("http_404") and number > 1 and self._is_counted
            return None if is_past else Visit(url, number, "rejected", url, str(refusal))

    @property
    def _is_counted(self) -> bool:
        return bool({"page", "offset"} & set(self.reading.options))

    def _allowed(self, target: str) -> str:
        """``target`` in its one spelling. Raises `_Refused` where a token must not follow."""
        url = canonical(target)
        if url is None:
            raise _Refused(f"next_address: {target} is no http(s) address")
        url = at_home(url, self.reading.start)
        if url is None:
            raise _Refused(f"next_out: it leads to another host, {target}")
        if url in self._asked:
            raise _Refused(f"loop: {url} was read already")
        return url

    async def _followed(self, session: aiohttp.ClientSession, url: str, number: int) -> _Answer:
        """What ``url`` gives, through its redirects."""
        here = url
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._patient(session, here, number)
            if not 300 <= answer.status < 400 or answer.status == 304:
                return answer
            here = self._redirected(answer)
        raise _Refused(f"redirects: there are more than {MAX_REDIRECTS}")

    def _redirected(self, answer: _Answer) -> str:
        target = canonical(answer.headers.get("location", ""), answer.url)
        if not answer.headers.get("location") or target is None:
            raise _Refused(f"http_{answer.status}: the server answers {answer.status} to nowhere")
        try:
            return self._allowed(target)
        except _Refused as refusal:
            code, _, said = str(refusal).partition(": ")
            raise _Refused(f"{code.replace('next_out', 'redirect_out')}: {said}") from None

    async def _patient(self, session: aiohttp.ClientSession, url: str, number: int) -> _Answer:
        """What ``url`` gives; where the server is busy, at a later attempt."""
        reason = ""
        for attempt in range(_ATTEMPTS):
            await self._pace.keep(1.0 / self.params.requests_per_second)
            pause = _FIRST_PAUSE_S * 2**attempt
            try:
                async with session.get(
                    url, headers=self._conditions(number), allow_redirects=False
                ) as response:
                    if not _is_busy(response):
                        return await self._answer(response, url)
                    reason = _of_status(response)
                    asked = retry_after_s(response)
            except aiohttp.ClientConnectorError as error:
                raise _Refused(of_transport(error, self.params.timeout_s)) from None
            except (TimeoutError, aiohttp.ClientError, ValueError) as error:
                reason, asked = of_transport(error, self.params.timeout_s), None
            if asked is not None and asked > _MAX_PAUSE_S:
                raise _Refused(f"{reason}, and asks to wait for {asked:.0f} s")
            if attempt < _ATTEMPTS - 1:
                await asyncio.sleep(pause if asked is None else asked)
        raise _Refused(f"{reason}, {_ATTEMPTS} times")

    def _conditions(self, number: int) -> dict[str, str]:
        return {"If-None-Match": self.etag} if self.etag and number == 1 else {}

    async def _answer(self, response: aiohttp.ClientResponse, url: str) -> _Answer:
        if response.status >= 400:
            raise _Refused(_of_status(response))
        body = await body_of(response, int(self.params.max_file_mb * 1e6))
        if body is None:
            raise _Refused(f"too_large: the page is over {self.params.max_file_mb:g} MB")
        headers = {name.lower(): value for name, value in response.headers.items()}
        return _Answer(url, response.status, headers, body, _linked(response))

    def _page(self, answer: _Answer, url: str, number: int) -> Visit | None:
        if answer.status == 304 and self.etag and number == 1:
            return Visit(url, number, "unchanged", answer.url)
        if answer.status == _NO_CONTENT and number > 1:
            return None
        page = _decoded(answer)
        items = items_of(page, self.reading)
        if items is None:
            raise _Refused(f"no_items: {self._without_items(page)}")
        if items and hashlib.sha256(answer.body).digest() in self._contents:
            raise _Refused(f"loop: {url} says what an earlier page said")
        target = next_of(page, self.reading, answer.url, len(items), answer.linked)
        is_sound = not target and number == 1 and tells_its_end(page, self.reading)
        return Visit(
            url,
            number,
            "ok",
            answer.url,
            etag=answer.headers.get("etag", "") if is_sound else "",
            size_bytes=len(answer.body),
            links=(canonical(target, answer.url) or target,) if target else (),
            usage=told(of_headers(answer.headers)),
            body=answer.body,
        )

    def _without_items(self, page: Any) -> str:
        names = ", ".join(list(page)[:_MOST_NAMES]) if isinstance(page, dict) else ""
        place = self.reading.options.get("items")
        found = f"there is no array at {place}" if place else "there is no array of objects"
        return f"{found}; its fields are {names}" if names else found


def _is_busy(response: aiohttp.ClientResponse) -> bool:
    """Whether asking again later may help; some say 403 when they mean 429."""
    return response.status in RETRIED or (
        response.status == 403 and "Retry-After" in response.headers
    )


def _of_status(response: aiohttp.ClientResponse) -> str:
    status = response.status
    return f"http_{status}: the server answers {status} {response.reason or ''}".rstrip()


def _linked(response: aiohttp.ClientResponse) -> str:
    """The target of ``Link: <…>; rel="next"`` (RFC 8288); empty where there is none."""
    try:
        links = response.links
    except ValueError:
        return ""
    for link in links.values():
        if "next" in str(link.get("rel", "")).lower().split():
            return str(link["url"])
    return ""


def _decoded(answer: _Answer) -> Any:
    """The page. Raises `_Refused` where it is not JSON."""
    mime = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        if mime == HTML or answer.body.lstrip()[:1] == b"<":
            raise _Refused("html: it is a web page, not JSON") from None
        why = str(error) or "it is nested too deeply"
        raise _Refused(f"bad_json: it is not JSON ({why})") from None
