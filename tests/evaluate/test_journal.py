from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.evaluate.test_answers import CASE
from undercroft.errors import BadInput
from undercroft.evaluate.journal import Answered, Journal
from undercroft.evaluate.suite import read_suite


def answered(number: int) -> Answered:
    return Answered("base", f"c{number}", f"text {number} ü", "stop", 1, 2, 0.5, 3.0, 4)


def test_answers_come_back_after_a_crash_in_the_middle_of_a_line(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    with Journal(file) as journal:
        journal.append(answered(1))
        journal.append(answered(2))
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:25])
    with Journal(file) as journal:
        assert journal.answers == {("base", "c1"): answered(1), ("base", "c2"): answered(2)}
        journal.append(answered(3))
    with Journal(file) as journal:
        assert set(journal.answers) == {("base", "c1"), ("base", "c2"), ("base", "c3")}


def test_a_first_line_cut_short_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_bytes(b'{"model": "ba')
    with Journal(tmp_path / "answers.jsonl") as journal:
        assert journal.answers == {}
        journal.append(answered(1))
    assert len((tmp_path / "answers.jsonl").read_bytes().splitlines()) == 1


def test_a_suite_is_read_from_its_folder_and_a_bad_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "cases.jsonl"
    file.write_text(json.dumps(asdict(CASE)) + "\n\n")
    assert read_suite(tmp_path) == [CASE]
    file.write_text('{"id": 1}\n')
    with pytest.raises(BadInput, match="not a case"):
        read_suite(tmp_path)
    file.write_text("")
    with pytest.raises(BadInput, match="no cases"):
        read_suite(tmp_path)
