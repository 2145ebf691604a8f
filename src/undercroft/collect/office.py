"""Office files -> HTML, whose headings, lists and tables curation then makes Markdown of."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from undercroft.collect.spreadsheets import sheets_html, table, tagged
from undercroft.collect.text import Unreadable
from undercroft.errors import MissingExtra

#: A file may unpack to this many times its size, or to this many bytes.
_MOST_EXPANSION: Final = 200
_MOST_BYTES: Final = 50_000_000
_OLE: Final = b"\xd0\xcf\x11\xe0"


def docx(data: bytes) -> tuple[str, str]:
    """Title and HTML of a Word document. Raises `Unreadable`."""
    try:
        import mammoth
    except ImportError:
        raise MissingExtra("mammoth", "data") from None
    _check(data)
    ignored = mammoth.images.img_element(lambda _image: {})
    with _told("Word document"):
        found = mammoth.convert_to_html(io.BytesIO(data), convert_image=ignored)
    return "", f"<body>{found.value}</body>"


def pptx(data: bytes) -> tuple[str, str]:
    """Title and HTML of a presentation, with the notes of its slides. Raises `Unreadable`."""
    try:
        from pptx import Presentation
    except ImportError:
        raise MissingExtra("python-pptx", "data") from None
    _check(data)
    with _told("presentation"):
        deck = Presentation(io.BytesIO(data))
        parts = [part for slide in deck.slides for part in _slide(slide)]
        title = deck.core_properties.title or ""
    return title, f"<body>{''.join(parts)}</body>"


def _slide(slide: Any) -> Iterator[str]:
    title = slide.shapes.title
    for shape in slide.shapes:
        if shape.has_text_frame:
            level = "h2" if title is not None and shape.shape_id == title.shape_id else "p"
            for paragraph in shape.text_frame.paragraphs:
                yield tagged(level, "".join(run.text for run in paragraph.runs))
        elif getattr(shape, "has_table", False):
            yield table([cell.text for cell in row.cells] for row in shape.table.rows)
    if slide.has_notes_slide:
        yield tagged("p", slide.notes_slide.notes_text_frame.text)


def sheets(data: bytes) -> tuple[str, str]:
    """HTML of a spreadsheet, a table for each sheet. Raises `Unreadable`."""
    _check(data, is_ole=True)
    return "", f"<body>{sheets_html(data)}</body>"


def _check(data: bytes, *, is_ole: bool = False) -> None:
    """Refuse what is locked, too old, or would unpack to far more than documents do."""
    if data.startswith(_OLE):
        if is_ole:
            return
        raise Unreadable("encrypted: it asks for a password, or is of a format before 2007")
    with _told("archive that it is"), zipfile.ZipFile(io.BytesIO(data)) as packed:
        size = sum(member.file_size for member in packed.infolist())
    if size > max(_MOST_BYTES, _MOST_EXPANSION * len(data)):
        raise Unreadable("bomb: it would unpack to far more than documents do")


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Any error of a library that reads files of strangers is a refusal of the file."""
    try:
        yield
    except MissingExtra:
        raise
    except Exception as error:
        is_locked = "password" in f"{type(error).__name__} {error}".lower()
        code = "encrypted" if is_locked else "broken_office"
        raise Unreadable(f"{code}: the {what} cannot be read ({error})") from None


HTML_OF: Final[dict[str, Callable[[bytes], tuple[str, str]]]] = {
    "docx": docx,
    "pptx": pptx,
    **dict.fromkeys(("xlsx", "xls", "xlsb", "ods"), sheets),
}
