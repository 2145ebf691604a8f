"""Addresses -> pages: each page is a pattern, a reading and a rendering.

A visit loads the page's data in a worker thread, so that a slow disk never holds up anybody
else's page, and then replaces the content. The first visit is answered with the content already
in its HTML; later ones travel over the open connection, without a reload.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from undercroft.console import access
from undercroft.console.components import errors
from undercroft.console.markup import Markup
from undercroft.errors import NotFound, UndercroftError
from undercroft.project import Project
from undercroft.records import Principal

if TYPE_CHECKING:
    from nicegui import ui

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Address:
    """Where a visitor is: the path, what its pattern captured, and the query."""

    path: str
    values: Mapping[str, str] = field(default_factory=dict[str, str])
    query: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def parse(cls, url: str) -> Address:
        parts = urlsplit(url)
        return cls(unquote(parts.path).rstrip("/") or "/", {}, dict(parse_qsl(parts.query)))

    @property
    def page(self) -> int:
        """The page of a paged list, from 1; anything that is not a number is 1."""
        text = self.query.get("page", "1")
        return max(1, int(text)) if text.isdecimal() and len(text) < 9 else 1

    def with_query(self, **changes: str | int | None) -> str:
        """The URL of the same page with some of the query changed; empty values are left out."""
        query = {**self.query, **{key: str(value or "") for key, value in changes.items()}}
        written = urlencode({key: value for key, value in query.items() if value})
        return f"{self.path}?{written}" if written else self.path


Load = Callable[[Project, Address], Any]
Act = Callable[[Project, str, str], object]
Sections = Sequence[Markup]


@dataclass(frozen=True)
class Page:
    """One kind of page.

    ``render`` turns what ``load`` read into sections of markup. ``refresh_s`` says in how many
    seconds the data may look different (None: never); only sections that changed are sent again.
    ``mount`` adds what needs a conversation with the server, and is used by the chat alone.
    ``acts`` are what its buttons do, by name (`parts.act`): each is given who asks for it, and the
    button's value.
    """

    pattern: str
    title: Callable[[Any], str]
    load: Load
    render: Callable[[Any], Sections]
    refresh_s: Callable[[Any], float | None] = lambda _: None
    mount: Callable[[Project, Any], None] | None = None
    acts: Mapping[str, Act] = field(default_factory=dict[str, Act])

    def match(self, path: str) -> dict[str, str] | None:
        """What the pattern's ``{names}`` stand for in ``path``, or None where it does not fit."""
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(self.pattern))
        found = re.fullmatch(pattern, path)
        return found.groupdict() if found else None


def find(pages: Sequence[Page], url: str) -> tuple[Page, Address]:
    """The page for ``url``; raises `NotFound` where there is none."""
    address = Address.parse(url)
    for page in pages:
        values = page.match(address.path)
        if values is not None:
            return page, Address(address.path, values, address.query)
    raise NotFound(f"There is no page {address.path}.", do="Start again from the home page.")


class Visit:
    """One browser tab: what it shows now, and how it gets to the next page."""

    def __init__(
        self, project: Project, pages: Sequence[Page], main: ui.element, who: Principal
    ) -> None:
        self.project = project
        self.pages = pages
        self.main = main
        self.who = who
        self._number = 0
        self._page: tuple[Page, Address] | None = None
        self._problem: Markup | None = None
        self._sections: list[ui.html] = []
        self._timer: ui.timer | None = None

    async def go(self, url: str, moved: bool = True) -> int:
        """Show the page at ``url``; the HTTP status that says how that went.

        A visit that is overtaken by a later one shows nothing.
        """
        from nicegui import run

        self._number += 1
        number = self._number
        self._stop_refreshing()
        self._page = self._problem = None
        try:
            page, address = find(self.pages, url)
            data = await run.io_bound(page.load, self.project, address)
            title, sections = page.title(data), page.render(data)
        except Exception as error:  # the console shows every error on the page it concerns
            status, title, sections = _explain(error)
            if number == self._number:
                self._show(title, sections, moved)
            return status
        if number == self._number:
            self._show(title, sections, moved)
            with self.main:
                if page.mount:
                    page.mount(self.project, data)
                self._page = page, address
                self._refresh_later(page.refresh_s(data))
        return 200

    async def act(self, name: str, value: str) -> None:
        """Do what a button of the page is for, and show what came of it, or what was in the way."""
        from nicegui import run

        if self._page is None or name not in self._page[0].acts:
            return
        act = self._page[0].acts[name]

        def checked() -> None:
            access.check(self.project, self.who)
            act(self.project, self.who.name, value)

        self._problem = None
        try:
            await run.io_bound(checked)
        except UndercroftError as error:
            self._problem = errors.notice(error.what, error.why, error.do)
        except Exception as error:
            LOG.exception("a button did not do what it is for")
            self._problem = errors.notice("Something broke.", f"{type(error).__name__}: {error}")
        await self._refresh()
        self.main.client.run_javascript("undercroftActed()")

    def _show(self, title: str, sections: Sections, moved: bool) -> None:
        from nicegui import ui

        self.main.clear()
        full_title = f"{title} · {self.project.title}"
        with self.main, ui.element("div").classes("page"):
            self._sections = [ui.html(section, sanitize=False) for section in sections]
        ui.page_title(full_title)
        if self.main.client.has_socket_connection:
            self.main.client.run_javascript(
                f"undercroftArrived({json.dumps(full_title)}, {json.dumps(moved)})"
            )

    def _refresh_later(self, interval: float | None) -> None:
        from nicegui import ui

        if interval is not None:
            self._timer = ui.timer(interval, self._refresh, immediate=False)

    async def _refresh(self) -> None:
        """Show the page as it is now."""
        from nicegui import run

        if self._page is None:
            return
        number, (page, address) = self._number, self._page
        interval = self._timer.interval if self._timer is not None else None
        try:
            data = await run.io_bound(page.load, self.project, address)
            sections, interval = page.render(data), page.refresh_s(data)
        except Exception as error:
            _, _, sections = _explain(error)
        if number != self._number:
            return
        self._replace([*sections[:1], self._problem, *sections[1:]] if self._problem else sections)
        if interval is None:
            self._stop_refreshing()
        elif self._timer is not None:
            self._timer.interval = interval

    def _replace(self, sections: Sections) -> None:
        """Send only the sections that are different from what the browser has."""
        from nicegui import ui

        if len(sections) != len(self._sections):
            parent = self.main.default_slot.children[0]
            parent.clear()
            with parent:
                self._sections = [ui.html(section, sanitize=False) for section in sections]
            return
        for shown, section in zip(self._sections, sections, strict=True):
            if shown.content != str(section):
                shown.set_content(str(section))

    def _stop_refreshing(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _explain(error: Exception) -> tuple[int, str, Sections]:
    """Status, title and content of a page that could not be made."""
    if isinstance(error, UndercroftError):
        return error.http_status, error.what, [errors.page(error)]
    LOG.exception("a page could not be made", exc_info=error)
    return 500, "Something broke", [errors.unexpected(error)]
