"""Web archives: WARC files in (ISO 28500, as crawlers and Common Crawl write them) and out."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlsplit

from undercroft.collect.documents import Collected
from undercroft.collect.readers import read
from undercroft.collect.usage import of_headers, told

_SKIPPED: Final = frozenset({"image", "audio", "video", "font"})


def responses(file: IO[bytes], address: str, limit: int) -> Iterator[Collected]:
    """The documents among the answers in an archive, under ``address!/URL``.

    Answers other than 200, of pictures and the like, and copies (revisits) are passed over; what
    cannot be read, or is over ``limit`` bytes, is a refusal. Raises what the gzip and WARC readers
    raise where the file ends too early.
    """
    from warcio.archiveiterator import ArchiveIterator
    from warcio.exceptions import ArchiveLoadFailed

    try:
        for record in ArchiveIterator(file):
            if record.rec_type == "response" and record.http_headers is not None:
                yield from _documents(record, address, limit)
    except ArchiveLoadFailed as error:
        raise ValueError(f"no WARC record where one begins ({error})") from None


def _documents(record: Any, address: str, limit: int) -> Iterator[Collected]:
    headers = {name.lower(): value for name, value in record.http_headers.headers}
    mime, _, rest = headers.get("content-type", "").partition(";")
    mime = mime.strip().lower()
    if record.http_headers.get_statuscode() != "200" or mime.partition("/")[0] in _SKIPPED:
        return
    url = record.rec_headers.get_header("WARC-Target-URI") or ""
    place = f"{address}!/{url}"
    try:
        data = record.content_stream().read(limit + 1)
    except (OSError, ValueError, EOFError) as error:
        yield Collected(place, reason=f"damaged: {error}")
        return
    if len(data) > limit:
        yield Collected(place, reason=f"too_large: it is over {limit / 1e6:g} MB")
        return
    if getattr(record.raw_stream, "limit", 0) > 0:  # of what the record says it holds
        yield Collected(place, reason="damaged: the record ends too early")
        return
    charset = rest.partition("charset=")[2].strip(" \"';")
    fetched = record.rec_headers.get_header("WARC-Date") or ""
    usage = told(of_headers(headers))
    for found in read(place, data, declared=mime, charset=charset):
        yield replace(found, usage=usage, last_modified=headers.get("last-modified") or fetched)


@dataclass(frozen=True)
class Archive:
    """The folder that a crawl writes what servers answered to, one file for each host and day.

    Every record is a gzip member of its own and is written by one append, so that a killed crawl
    leaves whole records.
    """

    folder: Path

    def add(self, url: str, status: str, headers: Mapping[str, str], body: bytes) -> Path:
        """Append an answer, its body already decoded; returns the file."""
        from warcio.statusandheaders import StatusAndHeaders
        from warcio.warcwriter import WARCWriter

        now = datetime.now(UTC)
        self.folder.mkdir(parents=True, exist_ok=True)
        host = (urlsplit(url).hostname or "host").replace(":", "-")
        path = self.folder / f"{host}-{now:%Y%m%d}.warc.gz"
        packed = io.BytesIO()
        writer = WARCWriter(packed, gzip=True)
        coded = {"content-encoding", "transfer-encoding", "content-length"}
        kept = [(name, value) for name, value in headers.items() if name.lower() not in coded]
        answer = StatusAndHeaders(status, [*kept, ("Content-Length", str(len(body)))], "HTTP/1.1")
        if not path.exists():
            about = {"software": "undercroft", "format": "WARC File Format 1.0"}
            writer.write_record(writer.create_warcinfo_record(path.name, about))
        writer.write_record(
            writer.create_warc_record(
                url, "response", payload=io.BytesIO(body), http_headers=answer
            )
        )
        with path.open("ab") as file:
            file.write(packed.getvalue())
        return path
