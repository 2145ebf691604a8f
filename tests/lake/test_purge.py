"""Erasure: what was purged is in no version and in no file."""

from pathlib import Path

import pytest

from tests.lake.conftest import rows
from undercroft.errors import BadInput
from undercroft.lake import any_of, equals


def files_with(table, needle: bytes) -> list[str]:
    found = (path for path in Path(table.uri).rglob("*") if path.is_file())
    return [str(path) for path in found if needle in path.read_bytes()]


def test_purged_rows_are_on_no_byte_of_the_disk_even_in_tagged_versions(lake):
    table = lake.table("documents")
    table.append(rows(1, 2, 3))
    tagged = table.append(rows(4))
    table.tag("dataset.docs.1", tagged)
    table.append(rows(5))
    assert files_with(table, b"needle2x")

    purged = table.purge(equals("id", "d2"))

    assert (purged.rows, purged.rewritten, purged.dropped) == (1, (tagged,), ())
    assert files_with(table, b"needle2x") == []
    assert files_with(table, b"'d2'") == []
    assert files_with(table, b"needle3x")
    assert table.read(["id"])["id"].to_pylist() == ["d1", "d3", "d4", "d5"]


def test_a_tagged_version_keeps_its_number_and_its_other_rows(lake):
    table = lake.table("documents")
    tagged = table.append(rows(1, 2, 3))
    table.tag("a", tagged)
    table.tag("b", tagged)
    table.overwrite(rows(7))
    table.purge(equals("id", "d2"))
    assert table.read(version=tagged)["id"].to_pylist() == ["d1", "d3"]
    assert table.tags() == {"a": tagged, "b": tagged}
    assert [v.number for v in table.versions() if v.tags] == [tagged]


def test_rows_deleted_long_ago_are_erased_too(lake):
    table = lake.table("documents")
    table.append(rows(1, 2))
    table.delete(equals("id", "d2"))
    table.tag("after", table.version)
    assert files_with(table, b"needle2x")
    assert table.purge(equals("id", "d2")).rows == 0
    assert files_with(table, b"needle2x") == []


def test_purges_can_follow_each_other_and_be_repeated(lake):
    table = lake.table("documents")
    tagged = table.append(rows(*range(20)))
    table.tag("keep", tagged)
    table.append(rows(20))
    for number in (3, 4, 4):
        table.purge(equals("id", f"d{number}"))
        assert files_with(table, f"needle{number}x".encode()) == []
    assert table.count(version=tagged) == 18
    assert table.count() == 19
    table.tag("again", tagged)
    assert table.tags() == {"keep": tagged, "again": tagged}
    table.append(rows(30))
    assert table.count() == 20


def test_other_tagged_versions_are_left_alone(lake):
    table = lake.table("documents")
    before = table.append(rows(1))
    table.tag("before", before)
    after = table.append(rows(2))
    table.tag("after", after)
    assert table.purge(equals("id", "d2")).rewritten == (after,)
    assert table.count(version=before) == 1


def test_untagging_an_erased_version_lets_the_next_purge_drop_it(lake):
    table = lake.table("documents")
    tagged = table.append(rows(1, 2))
    table.tag("keep", tagged)
    table.append(rows(3))
    table.purge(equals("id", "d1"))
    table.untag("keep")
    table.purge(equals("id", "d3"))
    assert files_with(table, b"needle2x")  # the newest version still holds it
    assert [v.number for v in table.versions()] == [table.version]


def test_an_index_forgets_the_words_of_purged_rows(lake):
    table = lake.table("vectors")
    table.append(rows(1, 2, 3))
    table.index("text", "INVERTED", with_position=False)
    table.tag("index.docs.1", table.version)
    assert files_with(table, b"needle2x")
    table.purge(equals("id", "d2"))
    assert files_with(table, b"needle2x") == []
    for version in (table.version, table.tags()["index.docs.1"]):
        dataset = table.dataset(version)
        assert dataset.to_table(full_text_query="needle3x")["id"].to_pylist() == ["d3"]
        assert dataset.to_table(full_text_query="needle2x").num_rows == 0


def test_purging_every_row_leaves_an_empty_table_that_can_be_written(lake):
    table = lake.table("documents")
    table.append(rows(1, 2))
    table.index("text", "INVERTED")
    table.purge(any_of("id", ["d1", "d2"]))
    assert files_with(table, b"needle1x") == []
    assert table.count() == 0
    table.append(rows(3))
    assert table.count() == 1


def test_a_tagged_version_that_cannot_be_searched_is_dropped_and_named(lake):
    table = lake.table("documents")
    table.append(rows(1).drop(["id"]))
    table.tag("old", table.version)
    table.overwrite(rows(1, 2))
    assert table.purge(equals("id", "d1")).dropped == ("old",)
    assert files_with(table, b"needle1x") == []


def test_a_wrong_filter_erases_nothing(lake):
    table = lake.table("documents")
    tagged = table.append(rows(1))
    table.tag("keep", tagged)
    with pytest.raises(BadInput):
        table.purge("nobody = 1")
    assert table.tags() == {"keep": tagged}
    assert table.count() == 1
