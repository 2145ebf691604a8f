"""Tables: writing, reading, versions and upkeep."""

import multiprocessing
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lake.conftest import rows
from undercroft.errors import BadInput, NotFound
from undercroft.lake import Lake, any_of, equals, quote, with_digests
from undercroft.lake.upkeep import KEEP_NEWEST, MERGED_ROWS


def test_a_table_exists_after_its_first_write(lake):
    table = lake.table("documents")
    assert not table.exists()
    assert table.append(rows(1, 2)) == 1
    assert table.exists()
    assert lake.tables() == ["documents"]
    assert table.read(["id"]).to_pydict() == {"id": ["d1", "d2"]}


def test_every_write_is_a_version_that_can_be_read_again(lake):
    table = lake.table("documents")
    first = table.append(rows(1))
    second = table.append(rows(2))
    third = table.overwrite(rows(3))
    assert [table.count(version=v) for v in (first, second, third)] == [1, 2, 1]
    assert table.read(version=second)["id"].to_pylist() == ["d1", "d2"]
    assert table.version == third
    assert [v.number for v in table.versions()] == [first, second, third]


def test_upsert_replaces_by_key_and_the_last_of_a_key_wins(lake):
    table = lake.table("documents")
    table.upsert(pa.table({"id": ["a", "b"], "n": [1, 2]}))
    table.upsert(pa.table({"id": ["b", "c", "c"], "n": [20, 3, 30]}))
    found = {row["id"]: row["n"] for row in table.read().to_pylist()}
    assert found == {"a": 1, "b": 20, "c": 30}


def test_limit_offset_and_where(lake):
    table = lake.table("documents")
    table.append(rows(*range(10)))
    assert table.read(["id"], limit=2, offset=3)["id"].to_pylist() == ["d3", "d4"]
    assert table.count(any_of("id", ["d1", "d9", "nobody"])) == 2
    assert table.delete(equals("id", "d1")) == 1
    assert table.delete(equals("id", "d1")) == 0
    assert table.count() == 9


def test_an_append_fills_missing_columns_and_casts_types(lake):
    table = lake.table("t")
    table.append(pa.table({"id": ["a"], "n": pa.array([1], pa.int64()), "note": ["x"]}))
    table.append(
        pa.table({"n": pa.array([2], pa.int8()), "id": pa.array(["b"], pa.large_string())})
    )
    assert table.read().to_pylist()[1] == {"id": "b", "n": 2, "note": None}


def test_data_that_does_not_fit_is_refused_and_nothing_is_lost(lake):
    table = lake.table("t")
    table.append(rows(1))
    with pytest.raises(BadInput, match="no column extra"):
        table.append(pa.table({"id": ["x"], "extra": [1]}))
    with pytest.raises(BadInput):
        table.append(pa.table({"id": [[1]]}))
    assert table.count() == 1


@pytest.mark.parametrize("where", ["nobody = 3", "id = 'open", "id = ", "DROP TABLE x"])
def test_a_wrong_filter_is_bad_input(lake, where):
    table = lake.table("t")
    table.append(rows(1))
    with pytest.raises(BadInput):
        table.read(where=where)


def test_what_is_not_there_is_not_found(lake):
    table = lake.table("t")
    with pytest.raises(NotFound, match="no table t"):
        table.read()
    table.append(rows(1))
    with pytest.raises(NotFound, match="no version 9"):
        table.read(version=9)
    with pytest.raises(NotFound):
        table.untag("nobody")
    with pytest.raises(BadInput, match="not a table name"):
        lake.table("../t")


def test_tags_move_and_can_be_taken_away(lake):
    table = lake.table("t")
    first, second = table.append(rows(1)), table.append(rows(2))
    table.tag("dataset.docs.1", first)
    assert table.tags() == {"dataset.docs.1": first}
    table.tag("dataset.docs.1", second)
    assert table.versions()[1].tags == ("dataset.docs.1",)
    table.untag("dataset.docs.1")
    assert table.tags() == {}


def test_clean_up_removes_old_versions_but_never_a_tagged_one(lake):
    table = lake.table("t")
    first = table.append(rows(1))
    second = table.append(rows(2))
    third = table.overwrite(rows(3))
    table.tag("keep", second)
    table.maintain(timedelta(0))
    assert [v.number for v in table.versions() if v.number < third] == [second]
    assert table.read(version=second)["id"].to_pylist() == ["d1", "d2"]
    with pytest.raises(NotFound):
        table.read(version=first)


def test_a_thousand_small_appends_leave_few_versions_and_files(lake):
    table = lake.table("requests")
    for number in range(1000):
        table.append(rows(number))
    assert table.count() == 1000
    assert len(table.versions()) <= KEEP_NEWEST + 40
    assert len(table.dataset().get_fragments()) <= 40
    files = [path for path in Path(table.uri).rglob("*") if path.is_file()]
    assert len(files) < 700


def test_a_file_that_is_large_enough_is_not_copied_when_small_ones_are_merged(lake):
    table = lake.table("requests")
    table.append(rows(*range(MERGED_ROWS)))
    (large,) = files_of(table)
    table.append(rows(-1))
    table.append(rows(-2))
    table.maintain(timedelta(hours=1))
    kept, merged = files_of(table)
    assert kept == large
    assert merged != large
    assert table.count() == MERGED_ROWS + 2


def files_of(table) -> list[str]:
    return [
        each.path for fragment in table.dataset().get_fragments() for each in fragment.data_files()
    ]


def append_in_child(root: str, start: int, count: int) -> None:
    table = Lake(root).table("shared")
    for number in range(start, start + count):
        table.append(rows(number))


def test_appends_of_several_processes_are_all_kept(lake):
    spawn = multiprocessing.get_context("spawn")
    writers = [
        spawn.Process(target=append_in_child, args=(lake.root, 100 * i, 40)) for i in range(3)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    found = lake.table("shared").read(["id"])["id"].to_pylist()
    assert sorted(found) == sorted(f"d{100 * i + n}" for i in range(3) for n in range(40))


def create_in_child(root, number, together):
    lake = Lake(root)
    for name in range(10):
        together.wait(30)
        lake.table(f"new{name}").append(rows(number))


def test_a_table_that_several_create_at_once_keeps_the_rows_of_all(lake):
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(3)
    writers = [spawn.Process(target=create_in_child, args=(lake.root, i, together)) for i in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    for name in range(10):
        found = lake.table(f"new{name}").read(["id"])["id"].to_pylist()
        assert sorted(found) == ["da", "db", "dc"], name


def test_quoting_covers_the_types_that_rows_have(lake):
    at = datetime(2026, 11, 22, 12, 0, 0, 5, tzinfo=UTC)
    table = lake.table("t")
    table.append(pa.table({"s": ["it's"], "n": [-1], "f": [0.5], "b": [True], "at": [at]}))
    for column, value in {"s": "it's", "n": -1, "f": 0.5, "b": True, "at": at}.items():
        assert table.count(equals(column, value)) == 1, column
    assert table.count(equals("s", None)) == 0
    assert table.count(any_of("s", [])) == 0
    with pytest.raises(BadInput):
        quote(float("nan"))
    with pytest.raises(BadInput):
        equals("s = 1 or true --", 1)


@settings(max_examples=40, deadline=None)
@given(value=st.text(st.characters(exclude_categories=["Cs"])))
def test_no_text_breaks_out_of_its_quotes(tmp_path_factory, value):
    table = Lake(tmp_path_factory.mktemp("lake")).table("t")
    table.append(pa.table({"id": [value, value + "'", "x' OR 'a'='a"]}))
    assert table.count(equals("id", value)) == 1


def test_importing_the_lake_is_cheap():
    code = "import sys, undercroft.lake; print('lance' in sys.modules, 'pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def documents(*texts: str) -> pa.Table:
    names = [f"d{number}" for number in range(len(texts))]
    return with_digests(pa.table({"id": names, "text": texts, "score": [0.1] * len(texts)}))


def said(table, version=None):
    rows = table.read(["id", "text"], version=version).to_pylist()
    return sorted((row["id"], row["text"]) for row in rows)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=6), min_size=1, max_size=4))
def test_replace_leaves_exactly_the_rows_given_and_every_version_readable(tmp_path_factory, steps):
    table = Lake(str(tmp_path_factory.mktemp("lake"))).table("documents")
    versions = [table.replace(documents(*texts)) for texts in steps]
    for version, texts in zip(versions, steps, strict=True):
        assert said(table, version) == said_of(documents(*texts))


def said_of(data):
    return sorted(zip(data["id"].to_pylist(), data["text"].to_pylist(), strict=True))


def test_small_changes_cost_what_they_change(lake):
    table = lake.table("documents")
    draw = random.Random(20)
    texts = [draw.randbytes(2000).hex() for _ in range(300)]
    table.tag("v0", table.replace(documents(*texts)))
    whole = size_of(table)
    assert table.replace(documents(*texts)) == table.version
    for change in range(10):
        texts[change] = texts[change].upper()
        table.tag(f"v{change + 1}", table.replace(documents(*texts)))
    assert size_of(table) <= 1.2 * whole
    assert said(table) == said_of(documents(*texts))


def size_of(table):
    return sum(path.stat().st_size for path in Path(table.uri).rglob("*") if path.is_file())
