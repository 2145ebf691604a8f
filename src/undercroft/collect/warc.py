"""Web archives: WARC files in (ISO 28500, as crawlers and Common Crawl write them) and out."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from undercroft.collect.documents import Collected
from undercroft.collect.readers import read
from undercroft.collect.usage import of_headers, told
from undercroft.collect.warc_records import Record, records

_MOST_HEAD: Final = 262_144  # of an answer's own headers
_WEB: Final = ("http://", "https://")
_SKIPPED: Final = frozenset({"image", "audio", "video", "font"})


def responses(file: IO[bytes], address: str, limit: int) -> Iterator[Collected]:
    """The documents among the answers in an archive, under ``address!/URL``.

    Answers other than 200, of pictures and the like, and copies (revisits) are passed over; what
    cannot be read, or is over ``limit`` bytes, is a refusal. Raises `EOFError` where the file ends
    too early.
    """
    for number, found in enumerate(records(file, limit + _MOST_HEAD), 1):
        if found.trouble:
            yield Collected(f"{address}#R{number}", reason=found.trouble)
        elif found.headers.get("warc-type") == "response" and found.url.startswith(_WEB):
            yield from _documents(found, f"{address}!/{found.url}", limit)


def _documents(found: Record, place: str, limit: int) -> Iterator[Collected]:
    from warcio.recordloader import ArcWarcRecord
    from warcio.statusandheaders import StatusAndHeadersParser

    content = io.BytesIO(found.content)
    try:
        answer = StatusAndHeadersParser([], verify=False).parse(content)
    except EOFError:
        yield Collected(place, reason="damaged: there is no answer in it")
        return
    headers = {name.lower(): value for name, value in answer.headers}
    mime, _, rest = headers.get("content-type", "").partition(";")
    mime = mime.strip().lower()
    if answer.get_statuscode() != "200" or mime.partition("/")[0] in _SKIPPED:
        return
    record = ArcWarcRecord("warc", "response", None, content, answer, "", None)
    try:
        data = record.content_stream().read(limit + 1)
    except Exception as error:  # of whatever unpacks it
        yield Collected(place, reason=f"damaged: {error or type(error).__name__}")
        return
    if len(data) > limit:
        yield Collected(place, reason=f"too_large: it is over {limit / 1e6:g} MB")
        return
    charset = rest.partition("charset=")[2].strip(" \"';")
    fetched = found.headers.get("warc-date", "")
    usage = told(of_headers(headers))
    for each in read(place, data, declared=mime, charset=charset):
        yield replace(each, usage=usage, last_modified=headers.get("last-modified") or fetched)


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
