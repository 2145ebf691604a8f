"""Bytes -> text: what kind of content they are, and in which encoding.

The content decides, not the name: a picture named ``.txt`` is refused, a PDF named ``.txt`` is
read as one.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from undercroft.collect.documents import HTML, MARKDOWN, PDF, PLAIN

JSONL = "application/jsonl"
OFFICE = "application/x-office-"  # and the usual suffix, whose own media types are long

MIME_OF_SUFFIX: Final = {
    ".txt": PLAIN,
    ".text": PLAIN,
    ".rst": PLAIN,
    ".adoc": PLAIN,
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".mdx": MARKDOWN,
    ".html": HTML,
    ".htm": HTML,
    ".xhtml": HTML,
    ".jsonl": JSONL,
    ".ndjson": JSONL,
    ".pdf": PDF,
    **{f".{name}": f"{OFFICE}{name}" for name in ("docx", "pptx", "xlsx", "xls", "xlsb", "ods")},
}

_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HEAD_BYTES: Final = 8192
_OFFICE_STARTS: Final = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # a zip, or an OLE compound file
_CONTROLS: Final = bytes(set(range(32)) - set(b"\t\n\r\f\x1b\b"))
_MAX_CONTROL_SHARE: Final = 0.02
_MAX_REPLACED_SHARE: Final = 0.01
_LEAST_PAIRS: Final = 8
_LATIN_SHARE: Final = 0.7  # of UTF-16, for which a Latin text in it is taken
_FEWER_BROKEN: Final = 4
_TYPOGRAPHY: Final = frozenset(
    "\u2018\u2019\u201c\u201d\u2013\u2014\u2026\u2022\u20ac\u00a0\u00ab\u00bb\u00b0\u00a7"
)
_DETECT_BYTES: Final = 65_536
_META_CHARSET: Final = re.compile(
    rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([\w.:-]{2,40})""", re.I
)
_HTML_START: Final = re.compile(
    rb"\s*+(?:<!--(?>.*?-->)\s*+)*+<(?:!doctype\s+html|html|head|body)\b", re.I | re.S
)


class Unreadable(Exception):
    """Content that cannot become text; the message is ``code: explanation``."""


def kind_of(data: bytes, declared: str = "") -> str:
    """The media type of ``data``, by its content and then by what was ``declared``.

    Raises `Unreadable` for what is no text and no PDF.
    """
    head = data[:_HEAD_BYTES]
    if b"%PDF-" in head[:1024]:
        return PDF
    if declared == PDF:
        raise Unreadable("broken_pdf: the file does not begin as a PDF does")
    if declared.startswith(OFFICE) and head.startswith(_OFFICE_STARTS):
        return declared
    if not _unmarked(head) and not any(head.startswith(bom) for bom, _ in _BOMS):
        controls = len(head) - len(head.translate(None, _CONTROLS))
        if b"\0" in head or controls > _MAX_CONTROL_SHARE * len(head):
            raise Unreadable("binary: the content is not text")
    if declared in ("", PLAIN) and _HTML_START.match(head):
        return HTML
    return declared or PLAIN


def decode(data: bytes, charset: str = "") -> str:
    """``data`` as text: by its byte order mark, as UTF-8, as ``charset`` says, or as detected.

    Where less than 1 in 100 characters is broken, those become U+FFFD and the rest is kept.
    Raises `Unreadable` when no encoding fits.
    """
    for bom, name in _BOMS:
        if data.startswith(bom):
            return _lenient(data, name)
    if unmarked := _unmarked(data[:_HEAD_BYTES]):
        return _lenient(data, unmarked)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    first = "utf-8" if _is_mostly_utf8(data) else charset
    for name in (first, charset, _detected(data), "utf-8"):
        if name:
            try:
                return _lenient(data, name)
            except (Unreadable, LookupError):
                continue
    raise Unreadable("undecodable: the bytes fit no known text encoding")


def _unmarked(head: bytes) -> str:
    """UTF-16 without a byte order mark, where ``head`` is that: mostly Latin letters, the other
    byte of each being zero."""
    pairs = len(head) // 2
    low, high = head[: 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    if pairs < _LEAST_PAIRS or max(low, high) < _LATIN_SHARE * pairs or min(low, high) > 0:
        return ""
    return "utf-16-le" if high else "utf-16-be"


def _is_mostly_utf8(data: bytes) -> bool:
    """Whether far more of what is not ASCII is UTF-8 than is not: another encoding, in which bytes
    seldom form UTF-8 by chance, does not look so."""
    text = data[:_DETECT_BYTES].decode("utf-8", "replace")
    broken = text.count("\ufffd")
    wide = sum(char > "\x7f" for char in text) - broken
    return wide > _FEWER_BROKEN * broken


def encoding_of(head: bytes) -> str:
    """The encoding of a file that begins with ``head``, which may end within a character."""
    for bom, name in _BOMS:
        if head.startswith(bom):
            return name
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return _detected(head) or "utf-8"
    return "utf-8"


def decode_html(data: bytes, charset: str = "") -> str:
    """`decode`, for HTML, which may name its own encoding."""
    meta = _META_CHARSET.search(data[:4096])
    return decode(data, charset or (meta[1].decode("ascii") if meta else ""))


def _lenient(data: bytes, name: str) -> str:
    text = data.decode(name, "replace")
    if text.count("\ufffd") > _MAX_REPLACED_SHARE * max(len(text), 1):
        raise Unreadable("undecodable: too many bytes are broken")
    return text


def _detected(data: bytes) -> str:
    """The likeliest encoding of ``data``, which is not UTF-8; empty when none fits."""
    from charset_normalizer import from_bytes

    sample = data[:_DETECT_BYTES]
    if _is_western(sample):
        return "cp1252"
    best = from_bytes(sample).best()
    return best.encoding if best is not None else ""


def _is_western(data: bytes) -> bool:
    """Whether ``data`` reads as a Western European language: few characters beyond ASCII, and
    nearly all of those letters. Statistical detection takes short French for Baltic."""
    text = data.decode("cp1252", "replace")
    wide = [char for char in text if char > "\x7f"]
    sensible = sum(char.isalpha() or char in _TYPOGRAPHY for char in wide)
    return 0 < len(wide) < 0.15 * len(text) and sensible > 0.9 * len(wide)
