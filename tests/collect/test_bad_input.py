"""Files made to do harm, or half of what they were: one clear refusal, and the rest comes in."""

from __future__ import annotations

import gzip
import io
import resource
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from undercroft.collect.containers import read_container
from undercroft.collect.readers import read
from undercroft.collect.text import MIME_OF_SUFFIX
from undercroft.curate.extract import text_of


def taken(folder: Path, name: str, data: bytes, limit: int = 1_000_000) -> dict[str, str]:
    """What comes of a file: texts, or the codes of refusals, by address."""
    (folder / name).write_bytes(data)
    found = read_container(folder / name, name, limit)
    return {each.uri: each.reason.partition(":")[0] or each.payload.decode() for each in found}


def text(name: str, data: bytes, charset: str = "") -> str:
    """The text, or the refusal, of a file with one document."""
    declared = MIME_OF_SUFFIX[f".{name.rpartition('.')[2]}"]
    (found,) = read(name, data, declared=declared, charset=charset)
    return found.reason or found.payload.decode()


# --- web archives --------------------------------------------------------------------------------


def record(number: int, body: str = "The page that has the number") -> bytes:
    answer = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n{body} {number}".encode()
    return (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a.example/{number}\r\n"
        f"WARC-Date: 2026-01-01T00:00:00Z\r\nContent-Length: {len(answer)}\r\n\r\n"
    ).encode() + answer + b"\r\n\r\n"  # fmt: skip


PAGE = "a.warc{}!/http://a.example/{}"


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_an_archive_cut_anywhere_keeps_what_is_whole_and_says_that_it_is_cut(
    tmp_path: Path, suffix: str
) -> None:
    packed = [gzip.compress(record(n)) if suffix else record(n) for n in range(3)]
    first, second = len(packed[0]), len(packed[0] + packed[1])
    whole = b"".join(packed)
    blank = 0 if suffix else 4  # the line ends behind a record are nothing to miss
    for cut in range(first + 1, len(whole) - blank, 7):
        found = taken(tmp_path, f"a.warc{suffix}", whole[:cut])
        good = [address for address, said in found.items() if said.startswith("The page")]
        is_told = any(said == "damaged" for said in found.values())
        assert good[: 2 if cut >= second else 1] == [
            PAGE.format(suffix, n) for n in range(2 if cut >= second else 1)
        ]
        assert is_told or second - blank <= cut <= second or len(good) == 3, cut


def test_what_stands_behind_a_damaged_record_is_read(tmp_path: Path) -> None:
    broken = record(1).replace(
        b"WARC/1.0\r\nWARC-Type: response", b"WXRC/1.0\r\nWARC-Type: respons"
    )
    endless = record(2).replace(b"Content-Length: ", b"Content-Length: many")
    found = taken(tmp_path, "a.warc", record(0) + broken + endless + record(3))
    assert found.pop(PAGE.format("", 0)) == "The page that has the number 0"
    assert found.pop(PAGE.format("", 3)) == "The page that has the number 3"
    assert set(found.values()) == {"damaged"}


def test_an_archive_packed_as_a_whole_is_read_too(tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(map(record, range(5))))
    assert len(taken(tmp_path, "a.warc.gz", packed)) == 5


# --- what unpacks to far more --------------------------------------------------------------------


def memory_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def packed_blanks(size: int) -> bytes:
    packer, piece = zlib.compressobj(9, wbits=31), b" " * 1_000_000
    return b"".join([packer.compress(piece) for _ in range(size // len(piece))]) + packer.flush()


def test_bombs_are_refused_without_being_unpacked(tmp_path: Path) -> None:
    bomb, before = packed_blanks(200_000_000), memory_kb()
    assert taken(tmp_path, "a.txt.gz", bomb) == {"a.txt.gz": "too_large"}
    assert taken(tmp_path, "a.json.gz", bomb) == {"a.json.gz": "too_large"}
    line = gzip.compress(b'{"text": "before"}\n')
    found = taken(tmp_path, "a.jsonl.gz", line + bomb + gzip.compress(b'\n{"text": "after"}'))
    assert found == {"a.jsonl.gz#L1": "before", "a.jsonl.gz#L2": "too_large",
                     "a.jsonl.gz#L3": "after"}  # fmt: skip
    huge = record(1, " " * 20_000_000)
    packed = b"".join(gzip.compress(each, 1) for each in (record(0), huge, record(2)))
    found = taken(tmp_path, "a.warc.gz", packed)
    assert [said.partition(" ")[0] for said in found.values()] == ["The", "too_large", "The"]
    assert memory_kb() - before < 150_000


def test_a_member_that_lies_about_its_size_is_refused_alone(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (("a.txt", "good"), ("b.txt", " " * 900_000), ("c.txt", "good too")):
            archive.writestr(name, data)
    data = bytearray(packed.getvalue())
    at = data.rindex(b"b.txt") - 46  # its entry in the directory
    data[at + 24 : at + 28] = struct.pack("<I", 100)
    assert list(taken(tmp_path, "a.zip", bytes(data)).values()) == ["good", "damaged", "good too"]


def test_archives_in_archives_and_members_without_end(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inner.zip", b"PK")
        for number in range(3_000):
            archive.writestr(f"{number}.txt", f"text {number}")
    found = taken(tmp_path, "a.zip", packed.getvalue())
    assert found.pop("a.zip!/inner.zip") == "nested"
    assert len(found) == 3_000


def test_a_header_of_an_archive_is_not_held_however_large(tmp_path: Path) -> None:
    packed, header = io.BytesIO(), tarfile.TarInfo("names")
    with tarfile.open(fileobj=packed, mode="w") as archive:
        info = tarfile.TarInfo("a.md")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"good"))
    header.type, header.size = tarfile.XHDTYPE, 200_000_000
    data = packed.getvalue()[:1024] + header.tobuf(tarfile.USTAR_FORMAT)
    before = memory_kb()
    found = taken(tmp_path, "a.tar.gz", gzip.compress(data) + packed_blanks(200_000_000))
    assert found == {"a.tar.gz!/a.md": "good", "a.tar.gz#rest": "damaged"}
    assert memory_kb() - before < 100_000


def test_two_cells_far_apart_do_not_end_the_process() -> None:
    from openpyxl import Workbook

    book, file = Workbook(), io.BytesIO()
    book.active["A1"], book.active["XFD1048576"] = "near", "far"
    book.save(file)
    assert text("a.xlsx", file.getvalue()).startswith("bomb")


# --- pictures that lie about their size ----------------------------------------------------------


def pdf(content: bytes, more: bytes = b"") -> bytes:
    packed = zlib.compress(content)
    return (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]"
        b"/Count 1>>endobj\n3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R"
        b"/Resources<</Font<</F 5 0 R>>/XObject<</I 6 0 R>>>>>>endobj\n4 0 obj<</Length "
        + str(len(packed)).encode() + b"/Filter/FlateDecode>>stream\n" + packed + b"\nendstream"
        b"\nendobj\n5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Courier>>endobj\n"
        + more + b"trailer<</Root 1 0 R>>"
    )  # fmt: skip


SHOWN = b"BT /F 12 Tf 9 9 Td (Some text beside it) Tj ET\n"


def test_a_picture_in_a_pdf_is_not_unpacked() -> None:
    picture = zlib.compress(b"\0" * 1000)
    claimed = b"/Width 1000000/Height 1000000/ColorSpace/DeviceRGB/BitsPerComponent 8"
    more = b"6 0 obj<</Type/XObject/Subtype/Image" + claimed + b"/Filter/FlateDecode/Length "
    more += str(len(picture)).encode() + b">>stream\n" + picture + b"\nendstream\nendobj\n"
    before = memory_kb()
    assert text("a.pdf", pdf(SHOWN + b"q 9 0 0 9 0 0 cm /I Do Q\n", more)) == "Some text beside it"
    assert memory_kb() - before < 100_000


def png(width: int, height: int) -> bytes:
    """A picture of one black pixel that says that it is of this size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(b"\0\0")), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def docx() -> bytes:
    from docx import Document

    document, file = Document(), io.BytesIO()
    document.add_paragraph("Some text beside it")
    document.add_picture(io.BytesIO(png(1, 1)), width=9)
    document.save(file)
    return file.getvalue()


def pptx() -> bytes:
    from pptx import Presentation

    deck, file = Presentation(), io.BytesIO()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Some text beside it"
    slide.shapes.add_picture(io.BytesIO(png(1, 1)), 0, 0, 9, 9)
    deck.save(file)
    return file.getvalue()


@pytest.mark.parametrize(("name", "made"), [("a.docx", docx), ("a.pptx", pptx)])
def test_a_picture_in_an_office_file_is_not_opened(name: str, made: Callable[[], bytes]) -> None:
    whole, packed = zipfile.ZipFile(io.BytesIO(made())), io.BytesIO()
    pictures = [member for member in whole.namelist() if member.endswith(".png")]
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in whole.namelist():
            lies = member in pictures
            archive.writestr(member, png(2**31 - 1, 2**31 - 1) if lies else whole.read(member))
    before = memory_kb()
    assert pictures
    assert "Some text beside it" in text(name, packed.getvalue())
    assert memory_kb() - before < 100_000


# --- encodings -----------------------------------------------------------------------------------

FRENCH = "Nous avons mangé du pain près de la forêt, et le garçon lisait. " * 5


@pytest.mark.parametrize(
    ("data", "charset", "expected"),
    [
        (FRENCH.encode("latin-1"), "utf-8", FRENCH),
        (FRENCH.encode("utf-16-le"), "", FRENCH),
        (FRENCH.encode("utf-16-be"), "utf-8", FRENCH),
        (("é" * 99 + "è").encode()[:-1], "", "é" * 99 + "\ufffd"),
        (FRENCH.encode("utf-16")[:-1], "", FRENCH[:-1] + "\ufffd"),
        ((FRENCH * 9).encode() + b" caf\xe9 ", "", FRENCH * 9 + " caf\ufffd "),
        ("Этот текст записан в старой кодировке, и он читается. ".encode("koi8-r") * 5, "",
         "Этот текст записан в старой кодировке, и он читается. " * 5),
        (b"A line of text. " * 600 + b"\0", "", "A line of text. " * 600 + "\0"),
    ],
    ids=["wrong-charset", "utf-16-le", "utf-16-be", "cut", "cut-16", "mixed", "koi8", "nul"],
)  # fmt: skip
def test_text_in_a_wrong_or_broken_encoding(data: bytes, charset: str, expected: str) -> None:
    assert text("a.txt", data, charset) == expected


def test_nul_bytes_are_no_text_at_the_beginning_and_vanish_later() -> None:
    assert text("a.txt", b"\0\1\2\3 no text").startswith("binary")
    assert text_of(b"some\0thing", "text/plain") == "something\n"


def test_lines_in_utf16_are_read_one_by_one(tmp_path: Path) -> None:
    rows = '{"text": "before"}\n{"text": "' + "x" * 9_000 + '"}\n{"text": "nach ä"}\n'
    found = taken(tmp_path, "a.jsonl", rows.encode("utf-16"), limit=5_000)
    assert list(found.values()) == ["before", "too_large", "nach ä"]


# --- time ----------------------------------------------------------------------------------------

MANY = 100_000


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.txt", b"<!---->" * MANY + b"x"),
        ("a.html", b"<title>" * MANY),
        ("a.md", b"# " + b"#" * MANY + b"x"),
        ("a.md", b"---\ntitle: a" + b" " * MANY + b"b\n"),
        ("a.txt", b"x" + b" " * MANY + b"x"),
    ],
    ids=["comments", "titles", "heading", "front-matter", "blanks"],
)
def test_what_repeats_without_end_takes_no_time(name: str, data: bytes) -> None:
    started = time.monotonic()
    (found,) = read(name, data, declared=MIME_OF_SUFFIX[f".{name.rpartition('.')[2]}"])
    text_of(found.payload, found.mime)
    assert time.monotonic() - started < 5


LINE_SCRIPT = """
import resource, sys
from pathlib import Path
from undercroft.collect.containers import read_container
import pyarrow
path = Path(sys.argv[1])
base = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (base + 40_000_000, resource.RLIM_INFINITY))
for each in read_container(path, path.name, 2_000_000):
    print(each.reason.partition(":")[0] or each.payload.decode())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits address space")
@pytest.mark.parametrize(
    ("name", "head", "tail"),
    [
        ("a.jsonl", '{"text": "before"}\n{"text": "', '"}\n{"text": "after"}\n'),
        ("a.csv", "id,text\n1,before\n2,", "\n3,after\n"),
    ],
)
def test_a_line_larger_than_memory_is_passed_over(
    tmp_path: Path, name: str, head: str, tail: str
) -> None:
    path = tmp_path / name
    with path.open("w") as file:
        file.write(head)
        for _ in range(100):
            file.write("word " * 200_000)
        file.write(tail)
    command = [sys.executable, "-c", LINE_SCRIPT, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    first, refusal, last = done.stdout.split() or [done.stderr]
    assert (first, last) == ("before", "after")
    assert refusal in ("too_large", "bad_row")
