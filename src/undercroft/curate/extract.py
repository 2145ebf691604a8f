"""Payload -> the text of the document: main content, in one form of Unicode.

HTML loses navigation, advertisements and boilerplate and becomes Markdown (`curate.page`, and
trafilatura where that finds little; Barbaresi 2021); Markdown stays as it is; plain text and the
pages of PDFs are only tidied.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from typing import Final

from undercroft.curate.page import content_of
from undercroft.errors import MissingExtra
from undercroft.nesting import flattened

_HTML_TYPES: Final = ("text/html", "application/xhtml+xml")
#: All C0 and C1 controls but tab and line feed, byte order marks, soft hyphens, noncharacters.
_CONTROLS: Final = re.compile(
    "[\u0000-\u0008\u000b\u000e-\u001f\u007f-\u0084\u0086-\u009f\ufeff\u00ad\ufffe\uffff]"
)
_LINE_ENDS: Final = re.compile("\r\n?|\u0085|\u2028")
_PAGE_ENDS: Final = re.compile("[\f\u2029]")
_TRAILING: Final = re.compile(r"(?<![ \t\u00a0])[ \t\u00a0]+$", re.M)
_GAPS: Final = re.compile(r"\n{4,}")
#: Less than this, and found with less confidence, may not be the main content.
_MIN_CHARS: Final = 250
_CONFIDENT: Final = 0.8
_MUCH_MORE: Final = 2


def text_of(payload: bytes, mime: str) -> str:
    """The main text of a raw document, normalised. Raises `MissingExtra`."""
    text = payload.decode("utf-8", "replace")
    return normalise(_main_text(text) if mime in _HTML_TYPES else text)


def normalise(text: str) -> str:
    """``text`` in NFC with line feeds for line ends, without control characters and with no more
    than two blank lines in a row."""
    text = _CONTROLS.sub("", _PAGE_ENDS.sub("\n\n", _LINE_ENDS.sub("\n", text)))
    text = unicodedata.normalize("NFC", text)  # a control may have parted a letter and its accent
    text = _TRAILING.sub("", text)
    text = _GAPS.sub("\n\n\n", text).strip("\n")
    return text + "\n" if text else ""


def _main_text(html: str) -> str:
    """The main content as Markdown.

    Where a page seems to hold hardly any, a slower extractor is asked too, and what it finds is
    taken if it is much more.
    """
    html = flattened(html)
    content = content_of(html)
    if content.confidence >= _CONFIDENT or len(content.text) >= _MIN_CHARS:
        return content.text
    second = _second_opinion(html)
    return second if len(second) > _MUCH_MORE * len(content.text) else content.text


def _second_opinion(html: str) -> str:
    try:
        import trafilatura
    except ImportError:
        raise MissingExtra("trafilatura", "data") from None
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    try:
        found = trafilatura.extract(
            html,
            output_format="markdown",
            include_comments=False,
            include_tables=True,
            include_formatting=True,
            favor_recall=True,
            deduplicate=False,
        )
        return str(found or trafilatura.html2txt(html) or "")
    except Exception:  # such as for control characters: then there is no second opinion
        return ""
