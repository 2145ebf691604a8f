"""Pairs in the files of datasets: what of a damaged one is still read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from undercroft.collect.pair_files import Row, files_of, rows_of
from undercroft.collect.preferences import PairSources, preferences, read_pairs
from undercroft.errors import BadInput, BadSource
from undercroft.lake.refused import REFUSED_FILE, Refused


def rows(count: int) -> list[dict[str, Any]]:
    """As chats, with a column that is no part of a pair."""
    turn = lambda role, text: {"role": role, "content": text}  # noqa: E731
    return [
        {
            "chosen": [turn("user", f"Why {n}?"), turn("assistant", f"So {n}.")],
            "rejected": [turn("user", f"Why {n}?"), turn("assistant", "Who knows.")],
            "score": n,
        }
        for n in range(count)
    ]


def said(path: Path) -> list[str]:
    return [pair.chosen for pair in read_pairs(path) if not isinstance(pair, Refused)]


def refused(path: Path) -> list[Refused]:
    return [each for each in read_pairs(path) if isinstance(each, Refused)]


def saved(path: Path, form: str) -> None:
    table = pa.Table.from_pylist(rows(5))
    if form == "parquet":
        pq.write_table(table, path)
    elif form == "stream":
        with pa.ipc.new_stream(path, table.schema) as out:
            out.write_table(table)
    elif form == "file":
        with pa.ipc.new_file(path, table.schema) as out:
            out.write_table(table)
    elif form == "array":
        path.write_text(json.dumps(rows(5), indent=1))
    else:
        lines = "".join(json.dumps(row) + "\n" for row in rows(5)).encode()
        path.write_bytes(gzip.compress(lines) if form == "packed" else lines)


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.parquet", "parquet"), ("a.arrow", "stream"), ("b.arrow", "file"), ("a.json", "array"),
     ("b.json", "lines"), ("a.jsonl.gz", "packed"), ("A.JSONL", "lines"), ("pairs", "lines")],
)  # fmt: skip
def test_every_form_of_a_dataset_holds_the_same_pairs(tmp_path: Path, name: str, form: str) -> None:
    saved(tmp_path / name, form)
    assert said(tmp_path / name) == [f"So {n}." for n in range(5)]


def test_a_damaged_row_group_loses_none_of_the_others(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    pq.write_table(pa.Table.from_pylist(rows(30)), path, row_group_size=10, compression="zstd")
    middle = pq.ParquetFile(path).metadata.row_group(1)
    bad = bytearray(path.read_bytes())
    for number in range(middle.num_columns):
        start = middle.column(number).data_page_offset
        bad[start : start + 60] = b"\xff" * 60
    path.write_bytes(bad)
    assert said(path) == [f"So {n}." for n in (*range(10), *range(20, 30))]
    (lost,) = refused(path)
    assert lost.line == 11
    assert lost.reason.startswith("rows 11 to 20 cannot be read: ")


def test_a_row_that_is_no_text_loses_none_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    texts = [b"So 0.", b"\xff\xfe", b"So 2."]
    column = pa.array(texts).cast(pa.string(), safe=False)
    table = pa.table({"prompt": ["Why?"] * 3, "chosen": column, "rejected": ["No."] * 3})
    pq.write_table(table, path)
    assert said(path) == ["So 0.", "So 2."]
    assert [each.line for each in refused(path)] == [2]


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.jsonl.gz"])
def test_a_file_that_is_not_what_it_is_called_is_one_refusal(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no such thing" * 9)
    assert list(rows_of(tmp_path / name)) == refused(tmp_path / name)
    assert len(refused(tmp_path / name)) == 1


def test_a_packed_file_that_ends_too_early_gives_what_is_before(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    lines = [json.dumps(row).encode() + b"\n" for row in rows(2)]
    path.write_bytes(gzip.compress(lines[0]) + gzip.compress(lines[1])[:-12])
    assert said(path)[0] == "So 0."
    assert "damaged" in refused(path)[-1].reason


def test_an_array_cut_short_is_refused_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[\n" + json.dumps(rows(1)[0]) + "\n,")
    kinds = [type(row) for row in rows_of(path)]
    assert kinds == [Refused, Row, Refused]


def test_a_folder_is_all_its_files_and_a_bad_one_is_told(project: Any, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    saved(folder / "train-0.parquet", "parquet")
    (folder / "train-1.parquet").write_bytes(b"PAR1 and no more")
    (folder / "cache-a.arrow").write_bytes(b"")
    (folder / "README.md").write_text("A card.")
    assert [path.name for path in files_of(folder)] == ["train-0.parquet", "train-1.parquet"]
    here = project()
    (made,) = preferences(here, PairSources(sources=[str(folder)]))
    assert (made.meta["pairs"], made.meta["refused"]) == (5, 1)
    (line,) = (here.path(made) / REFUSED_FILE).read_text().splitlines()
    assert json.loads(line)["source"] == "train-1.parquet"
    assert "cannot be read as Parquet" in json.loads(line)["reason"]


def test_a_folder_or_file_without_a_pair_is_one_error(project: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"no")
    with pytest.raises(BadInput, match=r"There is no pair in .*cannot be read as Parquet"):
        preferences(project(), PairSources(sources=[str(tmp_path / "bad.parquet")]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadSource, match="no file of pairs in the folder"):
        preferences(project(), PairSources(sources=[str(tmp_path / "empty")]))
