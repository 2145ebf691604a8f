"""Documents from the pages of a web site."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from undercroft.collect.documents import Collected, Gathering, Unchanged
from undercroft.collect.journal import Journal, Visit
from undercroft.collect.readers import read
from undercroft.collect.urls import canonical
from undercroft.collect.warc import Archive
from undercroft.errors import BadSource

T = TypeVar("T")


@dataclass(frozen=True)
class Site:
    """The site that begins at ``url``, asked for changes once in ``refresh_hours``."""

    url: str
    refresh_hours: float = 24.0

    def fingerprint(self) -> str:
        """The time, in steps of ``refresh_hours``."""
        return step_of(self.refresh_hours)

    def collect(self, gathering: Gathering) -> Iterator[Collected | Unchanged]:
        from undercroft.collect.crawler import Crawl

        start = canonical(self.url)
        if start is None:
            raise BadSource(
                f"{self.url} is not a web address.",
                "It needs the form http(s)://host/path.",
                "Correct `sources` under [collect].",
            )
        name = f"crawl-{hashlib.sha256(start.encode()).hexdigest()[:12]}.jsonl"
        journal = Journal(gathering.workdir / name, gathering.keep, gathering.kept)
        folder = gathering.params.warc_folder
        archive = Archive(gathering.root / folder) if folder else None
        crawl = Crawl(
            start, gathering.params, journal, gathering.earlier, gathering.payload_of, archive
        )
        for number, visit in enumerate(driven(crawl.visits()), 1):
            total = min(number + crawl.num_waiting, gathering.params.max_pages)
            gathering.report(number, max(total, number), visit.url)
            yield from _documents(visit)


def _documents(visit: Visit) -> Iterator[Collected | Unchanged]:
    url = visit.final_url or visit.url
    if visit.outcome == "unchanged":
        yield Unchanged(url)
        return
    if visit.outcome == "listing":
        return
    if visit.outcome == "rejected":
        yield Collected(visit.url, group=visit.url, reason=visit.reason)
        return
    for found in read(url, visit.body, declared=visit.mime, charset=visit.charset):
        yield replace(
            found,
            title=found.title or title_of(url),
            group=url,
            file=url,
            etag=visit.etag,
            last_modified=visit.last_modified,
            usage=visit.usage,
        )


def step_of(refresh_hours: float) -> str:
    """The time, in steps of ``refresh_hours``."""
    return f"{datetime.now(UTC).timestamp() // (3600 * refresh_hours):.0f}"


def title_of(url: str) -> str:
    """What an address is called where nothing else names it."""
    parts = urlsplit(url)
    last = unquote(parts.path.rstrip("/").rpartition("/")[2])
    return last.rpartition(".")[0].replace("-", " ").replace("_", " ") or last or parts.netloc


def driven(items: AsyncIterator[T]) -> Iterator[T]:
    """Run an asynchronous iterator from ordinary code, one item at a time."""
    with asyncio.Runner() as runner:

        async def following() -> T:
            return await anext(items)

        while True:
            try:
                yield runner.run(following())
            except StopAsyncIteration:
                return
