"""Files and folders: what is good is taken, what is bad is a recorded refusal beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from undercroft.collect.documents import document_id
from undercroft.collect.readers import read
from undercroft.collect.stage import collect, read_payload, rejections
from undercroft.errors import BadSource
from undercroft.project import Project

Opened = Callable[..., Project]
GOOD = "# Guide\n\nA document that is good and stays good whatever lies beside it.\n"
FRENCH = (
    "L'été dernier, nous avons déjeuné à la terrasse d'un café près de la forêt. Le garçon nous a "
    "proposé une crème brûlée, mais nous étions pressés: la fenêtre de notre hôtel était restée "
    "ouverte et l'orage menaçait déjà. Où êtes-vous allés après, et qu'avez-vous préféré là-bas?"
)


def pdf(text: str) -> bytes:
    """A PDF of one page, written by hand with a correct cross-reference table."""
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(out)
    out += b"xref\n0 6\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % p for p in places)
    return bytes(out) + b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % table


def gathered(project: Project) -> dict[str, str]:
    """Address -> text, or the code of the refusal."""
    collect(project)
    rows = project.lake.table("raw").read(["id", "uri", "status", "reason"]).to_pylist()
    return {
        row["uri"]: read_payload(project, row["id"]).decode()
        if row["status"] == "ok"
        else row["reason"].partition(":")[0]
        for row in rows
    }


def test_every_kind_of_file_becomes_documents(project: Opened) -> None:
    opened = project("docs")
    docs = opened.root / "docs"
    (docs / "deep").mkdir(parents=True)
    (docs / "a.txt").write_text("plain text")
    (docs / "b.md").write_text(GOOD)
    (docs / "deep" / "c.html").write_text("<title>A &amp; B</title><p>page</p>")
    (docs / "d.jsonl").write_text('{"text": "first", "id": "x", "title": "T"}\n"second"\n')
    (docs / "e.pdf").write_bytes(pdf("Hello from a PDF"))
    (docs / "picture.png").write_bytes(b"\x89PNG")
    found = gathered(opened)
    assert found == {
        "docs/a.txt": "plain text",
        "docs/b.md": GOOD,
        "docs/deep/c.html": "<title>A &amp; B</title><p>page</p>",
        "docs/d.jsonl#x": "first",
        "docs/d.jsonl#L2": "second",
        "docs/e.pdf": "Hello from a PDF",
    }
    rows = opened.lake.table("raw").read(["uri", "title", "group"]).to_pylist()
    titles = {row["uri"]: (row["title"], row["group"]) for row in rows}
    assert titles["docs/b.md"] == ("Guide", "docs/b.md")
    assert titles["docs/deep/c.html"][0] == "A & B"
    assert titles["docs/d.jsonl#x"] == ("T", "docs/d.jsonl#x")


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("binary.txt", b"\x00\x01\x02ELF" * 50, "binary"),
        ("controls.md", bytes(range(1, 32)) * 20, "binary"),
        ("broken.pdf", b"%PDF-1.7\nnothing that follows is one", "broken_pdf"),
        ("other.pdf", b"just text", "broken_pdf"),
        ("empty.txt", b"   \n", "empty"),
        ("large.txt", b"x" * 1_200_000, "too_large"),
        ("bad.jsonl", b"{no json}", "bad_json"),
        ("fields.jsonl", b'{"question": 1}', "no_text"),
    ],
)
def test_a_bad_file_is_recorded_and_the_good_one_beside_it_goes_on(
    project: Opened, name: str, content: bytes, code: str
) -> None:
    opened = project(".", max_file_mb=1.0)
    (opened.root / "good.md").write_text(GOOD)
    (opened.root / name).write_bytes(content)
    found = gathered(opened)
    assert found.pop("good.md") == GOOD
    assert list(found.values()) == [code]
    (artifact,) = collect(opened)
    assert artifact.meta["collected"] == 1
    assert artifact.meta["rejected"] == {code: 1}
    ((address, reason),) = rejections(opened)
    assert address.startswith(name)
    assert ": " in reason


def test_a_file_of_200_mb_is_recorded_without_being_read(project: Opened) -> None:
    opened = project(".")
    (opened.root / "good.md").write_text(GOOD)
    with (opened.root / "huge.txt").open("wb") as file:
        file.truncate(200_000_000)
    assert gathered(opened) == {"good.md": GOOD, "huge.txt": "too_large"}


@pytest.mark.skipif(os.geteuid() != 0, reason="as root every file can be read")
def test_root_reads_what_others_may_not(project: Opened) -> None:
    opened = project(".")
    (opened.root / "locked.md").write_text(GOOD)
    (opened.root / "locked.md").chmod(0)
    assert gathered(opened) == {"locked.md": GOOD}


def test_an_unreadable_file_is_recorded(project: Opened) -> None:
    opened = project(".")
    (opened.root / "good.md").write_text(GOOD)
    (opened.root / "dangling.md").symlink_to(opened.root / "nowhere.md")
    assert gathered(opened) == {"good.md": GOOD, "dangling.md": "unreadable"}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (FRENCH.encode("latin-1"), FRENCH),
        (b"\xff\xfe" + "ünïcode text".encode("utf-16-le"), "ünïcode text"),
        (b"\xef\xbb\xbfwith a mark", "with a mark"),
        (b"mostly fine text " * 40 + b"\xe2\x28\xa1", "mostly fine text"),
    ],
)
def test_text_that_is_not_utf8_is_still_read(content: bytes, text: str) -> None:
    (found,) = read("x", content)
    assert found.reason == ""
    assert found.payload.decode().startswith(text)


def test_a_pdf_named_txt_is_read_as_what_it_is() -> None:
    (found,) = read("x.txt", pdf("Hello"), declared="text/plain")
    assert (found.mime, found.payload) == ("application/pdf", b"Hello")


def test_an_empty_folder_and_a_missing_one_are_clear_errors(project: Opened) -> None:
    with pytest.raises(BadSource, match="no documents in"):
        collect(project("."))
    with pytest.raises(BadSource, match="no file or folder"):
        collect(project("nowhere"))


def test_a_folder_of_refusals_says_why(project: Opened) -> None:
    opened = project(".")
    (opened.root / "binary.txt").write_bytes(b"\x00" * 100)
    with pytest.raises(BadSource, match="binary"):
        collect(opened)


def test_an_unchanged_folder_is_neither_read_nor_written_again(project: Opened) -> None:
    opened = project(".")
    (opened.root / "a.md").write_text(GOOD)
    (first,) = collect(opened)
    assert collect(opened) == (first,)
    reopened = project(".", requests_per_second=1.0)  # another memo key: the stage runs again
    (second,) = collect(reopened)
    assert second.digest == first.digest
    assert second.uri == first.uri  # not even a new version of the table


def test_only_what_changed_is_written_and_what_vanished_is_dropped(project: Opened) -> None:
    opened = project(".")
    for name in ("a", "b", "c"):
        (opened.root / f"{name}.md").write_text(f"{GOOD}{name}")
    (first,) = collect(opened)
    fetched = ["id", "fetched_at"]
    before = {r["id"]: r for r in opened.lake.table("raw").read(fetched).to_pylist()}
    (opened.root / "b.md").write_text("changed text of b")
    (opened.root / "c.md").unlink()
    (second,) = collect(opened)
    after = {r["id"]: r for r in opened.lake.table("raw").read(fetched).to_pylist()}
    assert set(after) == {document_id("a.md"), document_id("b.md")}
    assert after[document_id("a.md")] == before[document_id("a.md")]
    assert after[document_id("b.md")] != before[document_id("b.md")]
    table, version = opened.table(first)
    assert table.count(version=version) == 3  # the first version is still there to be read
    assert second.meta["collected"] == 2


def test_payloads_are_sealed_and_bound_to_their_document(project: Opened) -> None:
    opened = project(".")
    (opened.root / "a.md").write_text(GOOD)
    collect(opened)
    (row,) = opened.lake.table("raw").read(["id", "payload"]).to_pylist()
    assert b"Guide" not in row["payload"]
    aad = b"raw:" + row["id"].encode()
    assert opened.trust.vault.open("", row["payload"], aad) == GOOD.encode()


def test_globs_choose_files(project: Opened) -> None:
    opened = project(".", include=["*.py", "notes/*"], exclude=["old*"])
    for name in ("a.py", "b.md", "old.py", "notes/x.dat"):
        path = opened.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("some text in here")
    assert set(gathered(opened)) == {"a.py", "notes/x.dat"}


def test_json_lines_keep_licence_and_subject(project: Opened) -> None:
    opened = project("people.jsonl")
    line = {"text": "about Ada", "subject": "ada", "license": "CC0-1.0"}
    Path(opened.root, "people.jsonl").write_text(json.dumps(line))
    collect(opened)
    (row,) = opened.lake.table("raw").read(["id", "subject", "licence"]).to_pylist()
    assert (row["subject"], row["licence"]) == ("ada", "CC0-1.0")
    assert read_payload(opened, row["id"]) == b"about Ada"


def test_a_table_of_an_earlier_release_is_read_on(project: Opened) -> None:
    opened = project("docs")
    (opened.root / "docs").mkdir()
    (opened.root / "docs/a.txt").write_text("The first document of all.")
    gathered(opened)
    table = opened.lake.table("raw")
    table.overwrite(table.read().drop_columns(["content", "file"]))
    (opened.root / "docs/b.txt").write_text("The second document of all.")
    assert set(gathered(opened)) == {"docs/a.txt", "docs/b.txt"}
    assert set(table.read(["file"])["file"].to_pylist()) == {"docs/a.txt", "docs/b.txt"}


def test_half_a_character_in_a_row_loses_nothing_else(project: Opened) -> None:
    opened = project("rows.jsonl")
    row = '{"id": "a\\ud800", "title": "t\\udfff", "text": "It is told with half a sign \\ud800."}'
    (opened.root / "rows.jsonl").write_text(f'{row}\n{{"id": "b", "text": "And another row."}}\n')
    (artifact,) = collect(opened)
    assert artifact.meta["collected"] == 2
