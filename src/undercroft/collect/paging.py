"""How a paged API is read: where its items are, and which address has the next page.

Pure functions over one decoded page; nothing here asks a server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from undercroft.collect.options import options_of
from undercroft.collect.urls import canonical, same_site
from undercroft.errors import BadSource

SCHEME: Final = "api:"
_KNOWN: Final = frozenset(
    {"items", "text", "id", "title", "next", "cursor", "page", "offset", "size", "token"}
)
_WITH_PASSWORD: Final = re.compile("[^/]*//[^/?]*@")
_PAGE_ITEMS: Final = 100
_MAX_DEPTH: Final = 3  # of arrays that are looked for
_ITEMS: Final = (
    *("items", "results", "data", "entries", "records", "value", "documents", "articles"),
    *("posts", "rows", "hits", "objects", "content", "list"),
)
_HOLDERS: Final = (
    *("", "links", "_links", "paging", "pagination", "page_info", "pageInfo"),
    *("meta", "meta.pagination", "metadata", "response_metadata"),
)
#: Names of the next page, and the parameter that takes it where it is no address but a cursor.
_NEXT: Final = {
    "next": "cursor",
    "next_url": "",
    "nextUrl": "",
    "next_page_url": "",
    "nextLink": "",
    "next_link": "",
    "@odata.nextLink": "",
    "next_cursor": "cursor",
    "nextCursor": "cursor",
    "next_page_token": "page_token",
    "nextPageToken": "pageToken",
    "next_page": "page",
    "nextPage": "page",
}
_PLACES: Final = {
    f"{holder}.{name}" if holder else name: parameter
    for holder in _HOLDERS
    for name, parameter in _NEXT.items()
}
_MORE: Final = tuple(
    f"{holder}.{name}" if holder else name
    for holder in _HOLDERS
    for name in ("has_more", "hasMore", "has_next", "hasNextPage")
)
#: Where an object that stands for the next page has its address, or its cursor.
_INSIDE: Final = {"href": "", "url": "", "link": "", "after": "after", "cursor": "cursor"}


@dataclass(frozen=True)
class Reading:
    """What a source says about an API: its ``address``, and behind ``#`` how to read it."""

    address: str
    options: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def start(self) -> str:
        """The address of the first page."""
        size = self.options.get("size")
        if not size or size in dict(parse_qsl(urlsplit(self.address).query)):
            return self.address
        return with_parameter(self.address, size, str(_PAGE_ITEMS))

    @property
    def name(self) -> str:
        """What addresses of documents begin with: whatever is read otherwise of an item later on,
        it stays the same document."""
        items = self.options.get("items")
        return f"{SCHEME}{self.address}" + (f"#{items}" if items else "")


def reading_of(spec: str) -> Reading:
    """What ``spec`` says. Raises `BadSource` where it cannot be meant so."""
    address, _, said = spec[len(SCHEME) :].partition("#")
    if _WITH_PASSWORD.match(address):
        raise BadSource(
            "An address under `sources` holds a password.",
            "It would be recorded with every document.",
            "Put a token in an environment variable, and name that: api:https://host/path#token=NAME",
        )
    start = canonical(address)
    options = options_of(spec, said, _KNOWN)
    if start is None or {"page", "offset"} <= options.keys():
        raise BadSource(
            f"{spec} cannot be understood.",
            "It needs an http(s) address, and pages are counted by `page` or by `offset`.",
            "As in: api:https://host/path?query#items=data.articles&text=body&next=links.next",
        )
    return Reading(start, options)


def at(value: Any, path: str) -> Any:
    """What is at ``path`` (``data.articles``) of nested objects; None where there is nothing."""
    if not isinstance(value, dict):
        return None
    if path in value:
        return value[path]
    head, dot, rest = path.partition(".")
    return at(value.get(head), rest) if dot else None


def items_of(page: Any, reading: Reading) -> list[Any] | None:
    """The items of a page; None where it has no array of them."""
    path = reading.options.get("items")
    if path is None:
        return next(_arrays(page), None)
    found = at(page, path)
    return found if isinstance(found, list) else None


def _arrays(page: Any) -> Iterator[list[Any]]:
    """What may be the items, the likeliest first: under a usual name, even where it is empty."""
    if isinstance(page, list):
        yield page
        return
    levels = list(_levels(page))
    named = [each[name] for each in levels for name in _ITEMS if isinstance(each.get(name), list)]
    yield from (found for found in named if any(isinstance(item, dict) for item in found))
    yield from named
    others = (value for each in levels for value in each.values() if isinstance(value, list))
    yield from (found for found in others if any(isinstance(item, dict) for item in found))


def _levels(page: Any) -> Iterator[dict[str, Any]]:
    """The objects within ``page`` that are no items, from the outside in."""
    level = [page]
    for _ in range(_MAX_DEPTH):
        inner = [each for each in level if isinstance(each, dict)]
        yield from inner
        level = [value for each in inner for value in each.values()]


def next_of(page: Any, reading: Reading, here: str, num_items: int, linked: str) -> str:
    """Where the page after the one at ``here`` is, as it is said there; empty after the last.

    ``linked`` is the target of its header ``Link: <…>; rel="next"``.
    """
    options = reading.options
    if "next" in options:
        return _target(at(page, options["next"]), here, options.get("cursor", "cursor"), options)
    if linked:
        return linked
    found = "" if _is_last(page) else next(_told(page, here, options), "")
    return found or (_counted(here, num_items, options) if num_items else "")


def tells_its_end(page: Any, reading: Reading) -> bool:
    """Whether the page itself would read otherwise if there were another one behind it."""
    if {"page", "offset"} & set(reading.options):
        return False
    return "next" in reading.options or any(_holds(page, path) for path in (*_MORE, *_PLACES))


def _holds(page: Any, path: str) -> bool:
    """Whether ``path`` is there, be it with nothing in it."""
    head, dot, last = path.rpartition(".")
    holder = at(page, head) if dot else page
    return isinstance(holder, dict) and last in holder


def _is_last(page: Any) -> bool:
    return any(at(page, place) is False for place in _MORE)


def _told(page: Any, here: str, options: Mapping[str, str]) -> Iterator[str]:
    """What the page says in usual places."""
    for path, usual in _PLACES.items():
        value = at(page, path)
        is_number = isinstance(value, int) and path.endswith("next")
        parameter = options.get("cursor") or ("page" if is_number else usual)
        target = _target(value, here, parameter, options)
        if target:
            yield target


def _target(value: Any, here: str, parameter: str, options: Mapping[str, str]) -> str:
    """The address that ``value`` stands for: itself, or ``here`` with a cursor in ``parameter``."""
    if isinstance(value, dict):
        found = (
            _target(value.get(name), here, options.get("cursor") or inside, options)
            for name, inside in _INSIDE.items()
        )
        return next((target for target in found if target), "")
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    if isinstance(value, int):
        name = options.get("page", "page") if parameter == "page" else parameter
        return with_parameter(here, name, value) if name else ""
    is_cursor = "cursor" in options and "://" not in value
    if value and (is_cursor or (parameter and not _is_address(value))):
        return with_parameter(here, parameter, value)
    return value


def _is_address(value: str) -> bool:
    return "://" in value or "?" in value or value.startswith(("/", "."))


def _counted(here: str, num_items: int, options: Mapping[str, str]) -> str:
    """The next page by number, where the source says what counts them."""
    name = options.get("page") or options.get("offset")
    if not name:
        return ""
    said = dict(parse_qsl(urlsplit(here).query)).get(name, "")
    if "page" in options:
        return with_parameter(here, name, (int(said) if said.isdecimal() else 1) + 1)
    return with_parameter(here, name, (int(said) if said.isdecimal() else 0) + num_items)


def at_home(url: str, start: str) -> str | None:
    """``url`` where it is on the host of ``start``, and no less secret; None where it is not.

    Servers behind a proxy that does TLS for them often say http for what is at https.
    """
    if start.startswith("https:") and url.startswith("http:"):
        url = canonical(f"https{url.removeprefix('http')}") or url
    return url if same_site(url, start) else None


def with_parameter(address: str, name: str, value: str | int) -> str:
    """``address`` with ``value`` for the parameter ``name`` of its query."""
    parts = urlsplit(address)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(key, said) for key, said in pairs if key != name]
    return urlunsplit(parts._replace(query=urlencode([*kept, (name, str(value))])))
