"""Tables and archives: every good row and member comes through, whatever lies beside it."""

from __future__ import annotations

import gzip
import io
import json
import resource
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import feather, parquet

from tests.collect.test_files import gathered
from undercroft.collect import Collected, Gathering, Unchanged
from undercroft.collect.containers import read_container
from undercroft.collect.files import FileSource
from undercroft.collect.stage import collect
from undercroft.project import Project
from undercroft.settings import CollectSettings

Opened = Callable[..., Project]
ROWS = [
    {"id": "a", "text": "The first of some rows with text in it.", "license": "MIT", "n": 1},
    {"id": "b", "text": "The second of some rows with text in it.", "license": "CC0", "n": 2},
    {"id": "c", "text": None, "license": None, "n": 3},
]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def tarred(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("__", "/").replace("_", "."))
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


def write_csv(path: Path) -> None:
    path.write_text('id,text,license\na,"The first, of some rows.",MIT\nb,The second one.,CC0\n')


WRITERS: dict[str, Callable[[Path], object]] = {
    "rows.jsonl": lambda path: path.write_bytes(LINES),
    "rows.jsonl.gz": lambda path: path.write_bytes(gzip.compress(LINES)),
    "rows.parquet": lambda path: parquet.write_table(pa.Table.from_pylist(ROWS), path),
    "rows.feather": lambda path: feather.write_feather(pa.Table.from_pylist(ROWS), str(path)),
    "rows.csv": write_csv,
    "rows.zip": lambda path: path.write_bytes(zipped({"in/rows.jsonl": LINES})),
    "rows.tar.gz": lambda path: path.write_bytes(tarred(in__rows_jsonl=LINES)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_table_gives_its_rows_with_their_licences(project: Opened, name: str) -> None:
    opened = project("docs")
    folder = opened.root / "docs"
    folder.mkdir()
    WRITERS[name](folder / name)
    collect(opened)
    rows = opened.lake.table("raw").read(["uri", "status", "licence", "reason"]).to_pylist()
    found = {row["uri"].rpartition("#")[2]: row for row in rows}
    assert (found["a"]["licence"], found["b"]["licence"]) == ("MIT", "CC0")
    assert found["a"]["status"] == "ok"
    assert "c" not in found or found["c"]["reason"].startswith("no_text")


def test_an_archive_gives_its_members_and_says_what_it_refuses(project: Opened) -> None:
    opened = project("all.zip")
    members = {
        "guide/intro.md": b"# Intro\n\nA guide that is good, as are all guides in here.",
        "picture.txt": b"\x89PNG\r\n\x1a\n\0\0\0\0",
        "bomb.txt": b" " * 5_000_000,
        "inner.zip": zipped({"x.md": b"not looked at"}),
        ".hidden.md": b"not looked at either",
        "broken.jsonl": b'{"text": "Good row number one."}\nnot json\n{"text": "And the last."}\n',
    }
    (opened.root / "all.zip").write_bytes(zipped(members))
    found = gathered(opened)
    place = "all.zip!/"
    assert found[f"{place}guide/intro.md"].startswith("# Intro")
    assert found[f"{place}picture.txt"] == "binary"
    assert found[f"{place}bomb.txt"] == "bomb"
    assert found[f"{place}broken.jsonl#L1"] == "Good row number one."
    assert found[f"{place}broken.jsonl#L2"] == "bad_json"
    assert found[f"{place}broken.jsonl#L3"] == "And the last."
    assert found[f"{place}inner.zip"] == "nested"
    assert len(found) == 7


def test_what_came_before_the_damage_stays(project: Opened) -> None:
    opened = project("docs")
    folder = opened.root / "docs"
    folder.mkdir()
    rows = ({"text": f"Row {n} of many, {n * 7919}."} for n in range(2000))
    packed = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
    (folder / "cut.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    (folder / "no.parquet").write_bytes(b"PAR1 and nothing more")
    (folder / "no.zip").write_bytes(b"PK no")
    (folder / "other.csv").write_text("x,y\n1,2\n")
    found = gathered(opened)
    assert found["docs/cut.jsonl.gz#L1"] == "Row 0 of many, 0."
    assert 500 < len(found) < 1800
    assert found["docs/cut.jsonl.gz#rest"] == "damaged"
    assert found["docs/no.parquet#rest"] == "damaged"
    assert found["docs/no.zip#rest"] == "damaged"
    assert found["docs/other.csv"] == "no_text"


def test_an_endless_line_is_refused_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write(b'{"text": "before"}\n{"text": "')
        for _ in range(300):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n{"text": "after"}\n')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = list(read_container(path, "long.jsonl", 2_000_000))
    assert [each.reason.partition(":")[0] or each.payload for each in found] == [
        b"before",
        "too_large",
        b"after",
    ]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_an_unchanged_table_is_not_read_again(project: Opened) -> None:
    opened = project("rows.parquet")
    path = opened.root / "rows.parquet"
    parquet.write_table(pa.Table.from_pylist(ROWS), path)
    first = gathered(opened)
    version = opened.lake.table("raw").version
    assert gathered(opened) == first
    assert opened.lake.table("raw").version == version


def taken(path: Path, limit: int = 10_000) -> list[str]:
    """What comes of the file: texts, or the codes of refusals."""
    found = read_container(path, path.name, limit)
    return [each.reason.partition(":")[0] or each.payload.decode() for each in found]


def test_separated_values_are_read_in_their_own_encoding(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    for encoding in ("utf-8-sig", "utf-16", "cp1252"):
        path.write_text("id,text\n1,Voilà un café très serré\n", encoding=encoding)
        assert taken(path) == ["Voilà un café très serré"]
    plain = "".join(f"{n},Plain row number {n} of many.\n" for n in range(3000)).encode()
    path.write_bytes(b"id,text\n" + plain + "9,Trop café, après tout\n".encode("cp1252"))
    assert taken(path)[-1] == "Trop café"


def test_one_bad_row_of_separated_values_does_not_end_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    long = "x" * 20_000
    path.write_text(f'id,text\n1,first\n2,"{long}"\n3,third\n4,"no end of\nthis\n')
    assert taken(path) == ["first", "bad_row", "third", "no end of\nthis\n"]
    path.write_text('id,text\n1,first\n2,"no end\n' + "3,swallowed\n" * 2_000 + "4,last\n")
    found = taken(path)
    assert (found[0], found[1], found[-1]) == ("first", "bad_row", "last")


def test_rows_of_one_name_are_all_kept(project: Opened) -> None:
    opened = project("rows.jsonl")
    lines = '{"id": 0, "text": "zero"}\n{"id": 7, "text": "one"}\n{"id": 7, "text": "other"}\n'
    (opened.root / "rows.jsonl").write_text(lines)
    assert gathered(opened) == {
        "rows.jsonl#0": "zero",
        "rows.jsonl#7": "one",
        "rows.jsonl#7~2": "other",
    }


def test_a_row_says_on_what_ground_it_is_used(project: Opened) -> None:
    opened = project("rows.jsonl")
    lines = '{"text": "own", "consent": "contract", "group": "g"}\n{"text": "default"}\n'
    (opened.root / "rows.jsonl").write_text(lines)
    gathered(opened)
    rows = opened.lake.table("raw").read(["uri", "consent", "group", "file"]).to_pylist()
    found = {row.pop("uri"): row for row in rows}
    assert found["rows.jsonl#L1"] == {"consent": "contract", "group": "g", "file": "rows.jsonl"}
    assert found["rows.jsonl#L2"]["consent"] == "operator"
    version = opened.lake.table("raw").version
    gathered(opened)
    assert opened.lake.table("raw").version == version, "it was written again"


def test_one_changed_row_is_written_alone(project: Opened) -> None:
    opened = project("rows.jsonl")
    path = opened.root / "rows.jsonl"
    rows = [{"text": f"row {n}"} for n in range(50)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    gathered(opened)
    version = opened.lake.table("raw").version
    rows[3] = {"text": "another"}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert gathered(opened)["rows.jsonl#L4"] == "another"
    times = opened.lake.table("raw").read(["uri", "fetched_at"], version=version).to_pylist()
    now = opened.lake.table("raw").read(["uri", "fetched_at"]).to_pylist()
    held = {(row["uri"], row["fetched_at"]) for row in times}
    written = {row["uri"] for row in now if (row["uri"], row["fetched_at"]) not in held}
    assert written == {"rows.jsonl#L4", "rows.jsonl#L50"}  # the last one carries the stamp


def test_a_file_that_changes_while_it_is_read_is_read_again(project: Opened) -> None:
    opened = project("rows.jsonl")
    path = opened.root / "rows.jsonl"
    path.write_text("".join(f'{{"text": "row {n}"}}\n' for n in range(10)))
    source = FileSource(path, opened.root, CollectSettings())
    found: list[Collected | Unchanged] = []
    for item in source.collect(Gathering(opened.root, CollectSettings(), opened.root)):
        if not found:
            with path.open("a") as file:
                file.write('{"text": "appended"}\n')
        found.append(item)
    last = found[-1]
    assert isinstance(last, Collected)
    assert last.reason.startswith("changed")
    assert not any(isinstance(each, Collected) and each.etag for each in found)


def test_a_list_of_records_and_zstandard(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    assert taken(tmp_path / "rows.json")[:2] == [ROWS[0]["text"], ROWS[1]["text"]]
    (tmp_path / "bad.json").write_text("[1, ")
    assert taken(tmp_path / "bad.json") == ["bad_json"]
    with pa.CompressedOutputStream(str(tmp_path / "rows.jsonl.zst"), "zstd") as file:
        file.write(LINES)
    assert taken(tmp_path / "rows.jsonl.zst")[:2] == [ROWS[0]["text"], ROWS[1]["text"]]
    packed = gzip.compress(b"Half a document is none, so nothing of it is kept. " * 200)
    (tmp_path / "cut.txt.gz").write_bytes(packed[: len(packed) // 2])
    assert taken(tmp_path / "cut.txt.gz") == ["damaged"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 99), st.binary(max_size=30)), max_size=30), st.data())
def test_good_rows_come_through_among_any_bytes(
    rows: list[int | bytes], data: st.DataObject
) -> None:
    lines = [
        json.dumps({"text": f"good {row}"}).encode()
        if isinstance(row, int)
        else row.replace(b"\n", b"").replace(b"\r", b"") or b"{"
        for row in rows
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl.gz"
        path.write_bytes(gzip.compress(b"# not json\n" + b"\n".join(lines)))
        found = [each for each in read_container(path, "x", 10_000) if not each.reason]
    good = [each.payload.decode() for each in found if each.payload.startswith(b"good ")]
    assert good == [f"good {row}" for row in rows if isinstance(row, int)]
