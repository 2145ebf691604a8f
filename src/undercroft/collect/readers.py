"""Content -> documents: one reader for each media type."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from undercroft.collect.documents import HTML, MARKDOWN, PDF, PLAIN, Collected
from undercroft.collect.office import HTML_OF
from undercroft.collect.text import JSONL, OFFICE, Unreadable, decode, decode_html, kind_of
from undercroft.errors import MissingExtra

# Bounded everywhere: what is read here may have been written to take all time there is.
_TITLE: Final = re.compile(r"<title[^>]{0,200}>(.{0,400}?)</title>", re.I | re.S)
_HEADING: Final = re.compile(r"^#[ \t]+(\S.{0,999})", re.M)
_FRONT_TITLE: Final = re.compile(
    r"\A---\n(?:.*\n){0,100}?title:[ \t]*[\"']?(.{1,1000}?)[\"']?[ \t]{0,99}\n", re.I
)
_HEAD_CHARS: Final = 1_000_000  # of a page, in which its title is
_MAX_TITLE: Final = 200
_MOST_PDF_S: Final = 120.0
_MOST_PDF_CHARS: Final = 100_000_000
_TEXT_FIELDS: Final = ("text", "content", "body", "markdown", "document")
#: What is taken over of a record beside its text.
FIELDS: Final = frozenset(
    {*_TEXT_FIELDS, "id", "uri", "title", "licence", "license", "consent", "subject", "group"}
)


def read(uri: str, data: bytes, *, declared: str = "", charset: str = "") -> Iterator[Collected]:
    """The documents in ``data``; what cannot be read is a refusal in its place.

    ``declared`` is the media type that name or server say it is.
    """
    try:
        kind = kind_of(data, declared)
        reader = READERS.get(kind)
        if reader is None:
            raise Unreadable(f"content_type: nothing here reads {kind}")
        yield from reader(uri, data, charset)
    except Unreadable as refusal:
        yield Collected(uri, mime=declared or PLAIN, reason=str(refusal), size_bytes=len(data))


def _read_plain(uri: str, data: bytes, charset: str) -> Iterator[Collected]:
    yield _document(uri, decode(data, charset), PLAIN)


def _read_markdown(uri: str, data: bytes, charset: str) -> Iterator[Collected]:
    text = decode(data, charset)
    match = _FRONT_TITLE.match(text) or _HEADING.search(text)
    yield _document(uri, text, MARKDOWN, match[1].rstrip().rstrip("#") if match else "")


def _read_html(uri: str, data: bytes, charset: str) -> Iterator[Collected]:
    text = decode_html(data, charset)
    match = _TITLE.search(text, 0, _HEAD_CHARS)
    title = html.unescape(re.sub(r"\s+", " ", match[1])) if match else ""
    yield _document(uri, text, HTML, title)


def _read_jsonl(uri: str, data: bytes, charset: str) -> Iterator[Collected]:
    """One document a line: a string, or an object with its text under a usual name.

    ``title``, ``licence`` (``license``), ``consent``, ``subject``, ``group``, ``id`` or ``uri`` are
    taken over.
    """
    for number, line in enumerate(decode(data, charset).splitlines(), 1):
        if line.strip():
            yield json_line(uri, number, line.encode("utf-8", "surrogatepass"))


def json_line(uri: str, number: int, line: bytes) -> Collected:
    """The document of one line of JSON Lines, or its refusal."""
    try:
        return record(uri, number, json.loads(decode(line)))
    except (ValueError, RecursionError):
        place = f"{uri}#L{number}"
        return Collected(place, mime=JSONL, reason="bad_json: the line is not JSON")
    except Unreadable as refusal:
        return Collected(f"{uri}#L{number}", mime=JSONL, reason=str(refusal))


def text_field(names: Iterable[str]) -> str | None:
    """The field that holds the text of a record, of those named; None when none is known to."""
    return next((name for name in _TEXT_FIELDS if name in names), None)


def record(uri: str, number: int, value: Any) -> Collected:
    """The document of a row: a string, or fields by the names that `_read_jsonl` takes over."""
    fields: dict[str, Any] = value if isinstance(value, dict) else {"text": value}
    name = _said(fields, "id", "uri") or f"L{number}"
    place = f"{uri}#{name}"
    text = next((t for name in _TEXT_FIELDS if isinstance(t := fields.get(name), str)), None)
    if text is None:
        names = ", ".join(_TEXT_FIELDS)
        return Collected(place, mime=JSONL, reason=f"no_text: none of {names} is a string")
    return replace(
        _document(place, text, PLAIN, _said(fields, "title")),
        group=_said(fields, "group"),
        licence=_said(fields, "licence", "license"),
        consent=_said(fields, "consent"),
        subject=_said(fields, "subject"),
    )


def _said(fields: dict[str, Any], *names: str) -> str:
    """The first of the fields that says something, a zero too, with lone surrogates replaced."""
    values = (fields.get(name) for name in names)
    said = next((str(value) for value in values if value is not None and value != ""), "")
    return said.encode("utf-8", "replace").decode()


def _read_pdf(uri: str, data: bytes, _charset: str) -> Iterator[Collected]:
    try:
        import pypdfium2
    except ImportError:
        raise MissingExtra("pypdfium2", "data") from None
    try:
        with pypdfium2.PdfDocument(data) as pdf:
            title = pdf.get_metadata_dict().get("Title", "")
            text = _pages(pdf)
    except pypdfium2.PdfiumError as error:
        is_locked = "password" in str(error).lower()
        code = "encrypted_pdf" if is_locked else "broken_pdf"
        raise Unreadable(f"{code}: {error}") from None
    if not text.strip():
        raise Unreadable("no_text: the pages are pictures; they would need OCR")
    yield _document(uri, text, PDF, title)


def _read_office(uri: str, data: bytes, _charset: str) -> Iterator[Collected]:
    """Word, PowerPoint and spreadsheet files, as HTML."""
    suffix = uri.rpartition(".")[2].lower()
    title, text = HTML_OF[suffix](data)
    yield _document(uri, text, HTML, title)


def _pages(pdf: Any) -> str:
    """The text of the pages. Raises `Unreadable` where a small file makes endless pages."""
    pages: list[str] = []
    size, last = 0, time.monotonic() + _MOST_PDF_S
    for page in pdf:
        pages.append(_page_text(page))
        size += len(pages[-1])
        if size > _MOST_PDF_CHARS or time.monotonic() > last:
            raise Unreadable(f"bomb: its first {len(pages)} pages take more than documents do")
    return "\f".join(pages)


def _page_text(page: Any) -> str:
    text = page.get_textpage().get_text_bounded()
    # PDFium marks a hyphen at a line end, where a word is broken, with U+0002 or U+FFFE.
    joined = re.sub("[\u0002\ufffe]\r?\n?", "", str(text))
    return joined.replace("\r\n", "\n")


def _document(uri: str, text: str, mime: str, title: str = "") -> Collected:
    payload = text.encode("utf-8", "replace")
    reason = "" if text.strip() else "empty: there is no text in it"
    clean = " ".join(title.split())[:_MAX_TITLE]
    return Collected(uri, clean, mime=mime, payload=payload, reason=reason, size_bytes=len(payload))


READERS: Final[dict[str, Callable[[str, bytes, str], Iterator[Collected]]]] = {
    PLAIN: _read_plain,
    MARKDOWN: _read_markdown,
    HTML: _read_html,
    "application/xhtml+xml": _read_html,
    "text/x-markdown": _read_markdown,
    JSONL: _read_jsonl,
    PDF: _read_pdf,
    **{f"{OFFICE}{suffix}": _read_office for suffix in HTML_OF},
}
