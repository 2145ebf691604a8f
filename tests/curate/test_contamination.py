"""Documents that hold what models are examined with do not get into the dataset."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from undercroft.collect.stage import collect
from undercroft.curate.contamination import LONGEST, Items
from undercroft.curate.exams import SuiteFiles, read_items, register
from undercroft.curate.stage import curate
from undercroft.errors import BadSource
from undercroft.lake import read_selection
from undercroft.project import Project

WORDS = [chr(97 + n) + "".join(chr(97 + n * k % 26) for k in (3, 5, 7)) for n in range(26)]
QUESTION = (
    "A train leaves the station at noon and goes sixty miles an hour; how far is it by three?"
)


def some(seed: object, count: int) -> str:
    return " ".join(random.Random(str(seed)).choices(WORDS, k=count))


def found(items: list[str], texts: list[str]) -> list[str]:
    named = [(f"i{number}", item) for number, item in enumerate(items)]
    return Items.of(named).in_texts(pa.array(texts, pa.large_string()))


def test_an_item_is_found_however_it_is_written() -> None:
    texts = [
        f"{some(1, 30)} {QUESTION.upper()} {some(2, 30)}",
        QUESTION.replace(" ", "\n  ").replace(";", " --"),
        QUESTION.rsplit(" ", 7)[0],
        some(3, 50),
    ]
    assert found([QUESTION], texts) == ["i0", "i0", "", ""]


def test_short_items_count_only_whole_and_very_short_ones_not_at_all() -> None:
    nine = "who wrote the first book about the old harbour"
    assert found([nine, "yes or no"], [f"Tell me: {nine}, please", nine[:-8], "yes or no"]) == [
        "i0",
        "",
        "",
    ]
    assert Items.of([("a", "yes or no")]).num_short == 1


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(13, 60), st.integers(0, 40), st.integers(0, 40))
def test_any_thirteen_words_in_a_row_are_found(seed: int, size: int, at: int, before: int) -> None:
    item = some(seed, size).split()
    start = at % (size - LONGEST + 1)
    run = " ".join(item[start : start + LONGEST])
    text = f"{some(-seed - 1, before)} {run} {some(-seed - 2, 20)}"
    assert found([" ".join(item)], ["of something else", text]) == ["", "i0"]


def test_a_run_over_two_texts_is_none() -> None:
    words = QUESTION.split()
    assert found([QUESTION], [" ".join(words[:9]), " ".join(words[9:])]) == ["", ""]


def test_contaminated_documents_are_removed_and_say_by_what(
    project: Callable[..., Project], tmp_path: Path
) -> None:
    texts = {"clean": some("c", 60), "exam": f"{some('e', 30)}. {QUESTION} {some('f', 30)}"}
    opened = project(texts, decontaminate=["exams/*.jsonl"])
    (opened.root / "exams").mkdir()
    exam = {"question": QUESTION, "choices": ["180 miles", "200 miles"], "answer": 0}
    (opened.root / "exams/math.jsonl").write_text(json.dumps(exam) + "\n")
    (raw,) = collect(opened)
    (dataset,) = curate(opened, raw=raw)
    rows = read_selection(opened.lake, dataset).select(["kept", "rule", "value"]).to_pylist()
    assert {"kept": False, "rule": "contaminated", "value": "math.jsonl#1"} in rows
    assert dataset.meta["kept"] == 1
    (opened.root / "exams/math.jsonl").write_text(json.dumps({"question": "Another"}) + "\n")
    assert curate(opened, raw=raw)[0].meta["kept"] == 2, "the changed exam was not read"


def test_every_registered_suite_is_kept_out_without_being_named(
    project: Callable[..., Project], tmp_path: Path
) -> None:
    texts = {"clean": some("c", 60), "exam": f"{some('e', 30)}. {QUESTION} {some('f', 30)}"}
    opened = project(texts)
    (raw,) = collect(opened)
    assert curate(opened, raw=raw)[0].meta["kept"] == 2
    exam = tmp_path / "maths.jsonl"
    exam.write_text(json.dumps({"question": QUESTION}) + "\n")
    (suite,) = register(opened, SuiteFiles(name="maths", files=[str(exam)]))
    (dataset,) = curate(opened, raw=raw)
    rows = read_selection(opened.lake, dataset).select(["rule", "value"]).to_pylist()
    assert {"rule": "contaminated", "value": f"{suite.ref}/1"} in rows
    assert register(opened, SuiteFiles(name="maths", files=[str(exam)])) == (suite,)


def test_a_suite_that_is_not_there_or_empty_is_refused(
    project: Callable[..., Project], tmp_path: Path
) -> None:
    opened = project({"clean": some("c", 60)}, decontaminate=["suite:maths"])
    (raw,) = collect(opened)
    with pytest.raises(BadSource, match="undercroft suite add maths"):
        curate(opened, raw=raw)
    (tmp_path / "empty.jsonl").write_text("")
    for name in ("empty.jsonl", "missing.jsonl"):
        with pytest.raises(BadSource, match=name):
            register(opened, SuiteFiles(name="maths", files=[str(tmp_path / name)]))


def test_items_are_read_from_every_kind_of_file(tmp_path: Path) -> None:
    opened = Project.open(tmp_path)
    rows = [{"q": "one", "n": 1, "options": ["two", "three"]}]
    (tmp_path / "a.jsonl").write_text(json.dumps(rows[0]) + "\n")
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "b.parquet")
    (tmp_path / "c.csv").write_text("q,n\none,1\n")
    (tmp_path / "d.txt").write_text("one\ntwo\n")
    assert {name for name, _ in read_items(["a.jsonl"], opened)} == {"a.jsonl#1"}
    for name, count in (("a.jsonl", 3), ("b.parquet", 3), ("c.csv", 1), ("d.txt", 2)):
        assert len(read_items([name], opened)) == count
    (tmp_path / "e.jsonl").write_text("not json")
    for name in ("e.jsonl", "missing.jsonl"):
        with pytest.raises(BadSource, match=name):
            read_items([name], opened)
