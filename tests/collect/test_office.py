"""Office files: their text, headings and tables come through, and what is broken is refused."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from undercroft.collect.readers import read
from undercroft.collect.text import MIME_OF_SUFFIX
from undercroft.curate.extract import text_of

ROWS = [["name", "size"], ["cable & co", 7.0], ["<tag>", 1.5]]
SENTENCE = "A paragraph that says something in a full sentence, and ends with a mark."


def docx() -> bytes:
    from docx import Document

    document, file = Document(), io.BytesIO()
    document.add_heading("The handbook", 1)
    document.add_paragraph(SENTENCE)
    document.add_paragraph("One item of a list", style="List Bullet")
    table = document.add_table(rows=0, cols=2)
    for row in ROWS:
        for cell, value in zip(table.add_row().cells, row, strict=True):
            cell.text = str(value)
    document.save(file)
    return file.getvalue()


def pptx() -> bytes:
    from pptx import Presentation

    deck, file = Presentation(), io.BytesIO()
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "The handbook"
    slide.placeholders[1].text = SENTENCE
    slide.notes_slide.notes_text_frame.text = "What the speaker says beside it, in a note."
    deck.save(file)
    return file.getvalue()


def xlsx() -> bytes:
    from openpyxl import Workbook

    book, file = Workbook(), io.BytesIO()
    sheet: Any = book.active
    sheet.title = "The handbook"
    for row in ROWS:
        sheet.append(row)
    book.save(file)
    return file.getvalue()


MAKERS: dict[str, Callable[[], bytes]] = {"docx": docx, "pptx": pptx, "xlsx": xlsx}


def text(name: str, data: bytes) -> str:
    (found,) = read(name, data, declared=MIME_OF_SUFFIX[f".{name.rpartition('.')[2]}"])
    return found.reason or text_of(found.payload, found.mime)


def test_word_keeps_headings_lists_and_tables() -> None:
    found = text("a.docx", docx())
    assert found.startswith(f"# The handbook\n\n{SENTENCE}\n\n- One item of a list\n\n")
    assert "| name | size |\n| --- | --- |\n| cable & co | 7.0 |\n| <tag> | 1.5 |" in found


def test_slides_have_titles_and_notes() -> None:
    found = text("a.pptx", pptx())
    assert found.startswith(f"## The handbook\n\n{SENTENCE}")
    assert "What the speaker says" in found


def test_sheets_are_tables() -> None:
    found = text("a.xlsx", xlsx())
    assert found.startswith("# The handbook")
    assert "| cable & co | 7 |\n| <tag> | 1.5 |" in found


@pytest.mark.parametrize("suffix", MAKERS)
def test_what_is_broken_is_refused(suffix: str) -> None:
    whole, name = MAKERS[suffix](), f"a.{suffix}"
    assert text(name, whole[: len(whole) // 2]).startswith("broken_office")
    assert text(name, b"\xd0\xcf\x11\xe0" + b"\0" * 600).startswith(("encrypted", "broken_office"))
    assert text(name, b"\0\1\2 no office file at all").startswith("binary")
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("word/document.xml", b" " * 80_000_000)
    assert text(name, bomb.getvalue()).startswith("bomb")
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    assert text(name, b"PK\x03\x04" + empty.getvalue()).startswith("broken_office")
