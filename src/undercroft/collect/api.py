"""Documents from a paged REST API.

``api:https://host/path?query``, and behind ``#`` how to read it, where it does not go without
saying: ``#items=data.articles&text=body&id=slug&title=name&next=links.next``. ``items``, ``text``,
``id``, ``title`` and ``next`` are fields, with dots into objects; ``cursor``, ``page``, ``offset``
and ``size`` are the API's parameters for the next page and for items a page; ``token`` is the
environment variable with a bearer token. Pages follow by ``Link`` header, by what the page says,
or else by number. An API is asked for changes once in ``refresh_hours``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from undercroft.collect.content import addressed, ground_of
from undercroft.collect.documents import Collected, Gathering, Unchanged
from undercroft.collect.journal import Journal, Visit
from undercroft.collect.paging import Reading, at, items_of, reading_of
from undercroft.collect.readers import record
from undercroft.collect.site import driven, step_of, title_of
from undercroft.collect.text import JSONL
from undercroft.errors import BadSource
from undercroft.settings import CollectSettings

_IDS: Final = ("id", "uri", "_id", "uuid", "guid", "slug", "url")
#: Where the pages end by what the API or the settings say, and not by a failure.
_ENDS: Final = ("loop", "max_pages")
_NAME_IT: Final = "Name the environment variable that holds a valid token, as in #token=NAME"
_LATER: Final = "Run the same command again later; pages that were read are not asked for again."
_DO: Final = {
    "http_401": _NAME_IT,
    "http_403": _NAME_IT,
    "html": "Give the API's own address; a site is a source by its address alone.",
    "no_items": "Say where they are, as in #items=data.articles",
    "too_large": "Ask for fewer items a page, as in ?per_page=20, or raise `max_file_mb`.",
    "redirect_out": "If that host is the right one, name it under `sources` in place of this one.",
    "unreachable": f"Check the address and the connection. {_LATER}",
}


@dataclass(frozen=True)
class Api:
    """The API that ``spec`` names."""

    spec: str
    params: CollectSettings

    def fingerprint(self) -> str:
        """The time, in steps of ``refresh_hours``."""
        return step_of(self.params.refresh_hours)

    def collect(self, gathering: Gathering) -> Iterator[Collected | Unchanged]:
        """All pages are read before the first document is given, for only then is it known whether
        what is not among them is gone, or was not reached."""
        reading = reading_of(self.spec)
        known = gathering.earlier.etags(self.spec)
        ground = ground_of(self.params)
        before = (each for each in known if each.startswith(f"{ground}-"))
        etag = next(before, "").removeprefix(f"{ground}-")
        journal = _journal(self.spec, gathering)
        etag_now, stop = _read(reading, journal, gathering, etag)
        stands, refusal = _outcome(reading, stop, is_known=bool(known))
        if stands:
            yield Unchanged(file=self.spec)
        stamp = f"{ground}-{etag_now}" if etag_now else ground
        is_empty = not stands
        items = _documents(reading, journal, ground)
        for found in addressed(items, self.spec, stamp, lambda: stamp):
            is_empty = False
            yield found
        if is_empty:
            journal.discard()  # so that the next attempt asks again
            raise BadSource(
                f"There are no items at {reading.address}.",
                "The API answers with an empty list.",
                "Correct the address under `sources`, under [collect].",
            )
        if refusal is not None:
            yield replace(refusal, file=self.spec)


def _journal(spec: str, gathering: Gathering) -> Journal:
    name = f"api-{hashlib.sha256(spec.encode()).hexdigest()[:12]}.jsonl"
    return Journal(gathering.workdir / name, gathering.keep, gathering.kept)


def _read(
    reading: Reading, journal: Journal, gathering: Gathering, etag: str
) -> tuple[str, Visit | None]:
    """Read all pages into ``journal``: the ETag that speaks for them all, if there is one, and
    what ended them, if it was not the last page."""
    from undercroft.collect.api_pages import Walk

    walk = Walk(reading, gathering.params, journal, _token(reading), etag)
    etag_now = ""
    for visit in driven(walk.visits()):
        gathering.report(visit.depth, None, visit.url)
        if visit.outcome != "ok":
            return "", visit
        etag_now = visit.etag
    return etag_now, None


def _outcome(
    reading: Reading, stop: Visit | None, *, is_known: bool
) -> tuple[bool, Collected | None]:
    """Whether all that was known stands, and the refusal of what could not be read.

    Raises `BadSource` where there is nothing to give, or where the next run can go on.
    """
    from undercroft.collect.polite import is_transient

    if stop is None:
        return False, None
    if stop.outcome == "unchanged":
        return True, None
    is_first, is_passing = stop.depth == 1, is_transient(stop.reason)
    if is_first and is_known and is_passing:
        return True, None
    if is_first or (is_passing and not is_known):
        raise _unreadable(reading, stop)
    is_cut = stop.reason.partition(":")[0] not in _ENDS
    return is_cut and is_known, Collected(f"{reading.name}#page-{stop.depth}", reason=stop.reason)


def _unreadable(reading: Reading, stop: Visit) -> BadSource:
    from undercroft.collect.polite import is_transient

    code, _, said = stop.reason.partition(": ")
    usual = _LATER if is_transient(code) else "Correct `sources` under [collect]."
    which = reading.address if stop.depth == 1 else f"Page {stop.depth} of {reading.address}"
    return BadSource(
        f"{which} cannot be read.", f"{said[:1].upper()}{said[1:]}.", _DO.get(code, usual)
    )


def _token(reading: Reading) -> str:
    """The token from the environment. Raises `BadSource` where it is missing or none."""
    name = reading.options.get("token")
    if not name:
        return ""
    token = os.environ.get(name, "").strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise BadSource(
            f"There is no token for {reading.address}.",
            f"The environment variable {name} is not set, or holds what no token is.",
            f"Set it, as in: export {name}=…",
        )
    return token


def _documents(reading: Reading, journal: Journal, ground: str) -> Iterator[Collected]:
    """The documents of the pages read; an item that is there twice, since the pages moved while
    they were read, is given once."""
    title, number = title_of(reading.address), 0
    given: set[bytes] = set()
    for visit in journal.visits():
        for item in _items(reading, visit):
            number += 1
            found = _document(reading, number, item)
            key = hashlib.sha256(f"{found.uri}\0{found.reason}\0".encode() + found.payload).digest()
            if key not in given:
                given.add(key)
                yield replace(found, title=found.title or title, usage=visit.usage, etag=ground)


def _items(reading: Reading, visit: Visit) -> list[Any]:
    return items_of(json.loads(visit.body), reading) or []


def _document(reading: Reading, number: int, item: Any) -> Collected:
    """The document of one item, or its refusal; without an id it is known by its content."""
    if not isinstance(item, dict):
        reason = "not_object: the item is no object with fields"
        return Collected(f"{reading.name}#{_digest(item)}", mime=JSONL, reason=reason)
    options, fields = reading.options, _scalars(item)
    chosen = {
        name: _clean(at(item, options[name])) for name in ("text", "title") if name in options
    }
    names = [options["id"]] if "id" in options else _IDS
    ids = (_clean(at(item, name)) for name in names)
    named = next((each for each in ids if each not in (None, "")), None)
    fields = {**fields, **chosen, "id": _digest(item) if named is None else named}
    found = record(reading.name, number, fields)
    if "text" in options and not isinstance(chosen["text"], str):
        reason = f"no_text: there is no string at {options['text']}"
        return Collected(found.uri, mime=JSONL, reason=reason)
    if named is None and found.payload:
        return replace(
            found, uri=f"{reading.name}#{hashlib.sha256(found.payload).hexdigest()[:16]}"
        )
    return found


def _scalars(item: dict[str, Any]) -> dict[str, Any]:
    """The fields that hold one value; objects say nothing where a name is asked for."""
    found = {name: _clean(value) for name, value in item.items()}
    return {name: value for name, value in found.items() if value is not None}


def _clean(value: Any) -> str | int | float | None:
    """One value that can be written down: no object, and no half of a surrogate pair."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _digest(item: Any) -> str:
    return hashlib.sha256(json.dumps(item, sort_keys=True).encode()).hexdigest()[:16]
