"""Damaged rows: the good ones are trained on, and the others kept with the reason."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.train.test_distil import PARAMS as DISTIL
from tests.train.test_keeping import PARAMS, put
from undercroft.errors import BadInput
from undercroft.lake.preferences import PAIRS_FILE, read_preferences, write_preferences
from undercroft.lake.refused import REFUSED_FILE
from undercroft.ledger.compare import side
from undercroft.ledger.report import as_html
from undercroft.project import Project
from undercroft.records import Artifact, Example, Preference, Turn
from undercroft.settings import ModelSettings
from undercroft.train.distil import lessons, student
from undercroft.train.samples import corpus
from undercroft.train.samples.data import FILE_NAME, example_of, read_examples
from undercroft.train.samples.lessons import Lesson, Lessons, Notebook
from undercroft.train.stage import base, train

DAMAGED = [b"\xff\xfe{}\n", b'{"id": 1}\n', b"[" * 50_000 + b"\n", b'"half a line', b"\n"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project.open(tmp_path_factory.mktemp("docs"))


@pytest.fixture(scope="module")
def start(project: Project, tiny: Path) -> Artifact:
    return base(project, ModelSettings(base=str(tiny)))[0]


def damage(path: Path, lines: list[bytes]) -> None:
    """Put ``lines`` between the first and the second of the file at ``path``."""
    first, _, rest = path.read_bytes().partition(b"\n")
    whole = b"".join(line if line.endswith(b"\n") else line + b"\n" for line in lines)
    path.chmod(0o600)
    path.write_bytes(first + b"\n" + whole + rest)


def test_training_goes_on_with_the_good_examples_and_says_which_were_not(
    project: Project, start: Artifact, examples: list[Example]
) -> None:
    few = put(project, "few", [replace(examples[0], answer=" "), *examples[1:8]])
    damage(project.path(few) / FILE_NAME, DAMAGED)
    (model,) = train(project, PARAMS, examples=few, base=start)
    lines = (project.path(model) / REFUSED_FILE).read_text(encoding="utf-8").splitlines()
    refused = [json.loads(line) for line in lines]
    assert [each["line"] for each in refused] == [1, 2, 3, 4, 5, 6]
    assert refused[0]["reason"] == "question or answer is empty"
    assert model.meta["refused_rows"] == 6
    assert json.loads((project.path(model) / "training.json").read_text())["refused_rows"] == 6
    (event,) = [detail for _, _, detail in project.ledger.events(model.run_id, "refused")]
    assert (event["rows"], event["of"]) == (6, str(few.ref))
    page = as_html([side(project.ledger, model.run_id, project.state)])
    assert f"rows not used</td><td>6 of {few.ref}" in page
    assert "damaged rows not read: 6" in (project.path(model) / "README.md").read_text()


def test_a_student_learns_from_what_is_left_too(
    project: Project, start: Artifact, examples: list[Example]
) -> None:
    source = put(project, "left", examples[:6])
    damage(project.path(source) / FILE_NAME, DAMAGED[:1])
    asked = {"teacher": start, "source": source}
    (told,) = lessons(project, DISTIL.lessons, **asked)
    (model,) = student(project, DISTIL, base=start, lessons=told, **asked)
    assert model.meta["refused_rows"] == 1


def test_a_file_of_which_no_line_can_be_read_is_one_error(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"\n".join([b"x", b"x", b"{}"]))
    with pytest.raises(BadInput, match=r"All 3 lines are damaged, most because: JSON is malformed"):
        read_examples(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(b"")
    with pytest.raises(BadInput, match="The file is empty"):
        read_examples(tmp_path)


LINE = json.dumps(asdict(Example("1", "d", "Why?", (), "So.", (), True, "g"))).encode()


@given(st.integers(0, len(LINE)), st.binary(max_size=3), st.integers(0, 3))
def test_whatever_becomes_of_a_line_it_is_an_example_or_refused(
    at: int, put_in: bytes, left_out: int
) -> None:
    try:
        found = example_of(LINE[:at] + put_in + LINE[at + left_out :])
    except ValueError:
        return
    for text in (found.id, found.question, found.answer):
        text.encode("utf-8")


def test_a_damaged_pair_is_refused_and_the_others_are_read(
    project: Project, tmp_path: Path
) -> None:
    pairs = [Preference(f"{n}", (Turn("user", "Why?"),), f"So {n}.", "No.", "a") for n in (1, 2)]
    write_preferences(tmp_path, pairs, [])
    sealed = b'{"id": "3", "source": "t", "sealed": [1]}'
    damage(tmp_path / PAIRS_FILE, [*DAMAGED[:4], sealed, b'"sealed"'])
    read = read_preferences(tmp_path, project.trust.vault)
    assert (read.found, read.gone) == (pairs, 0)
    assert [each.line for each in read.refused] == [2, 3, 4, 5, 6, 7]
    (tmp_path / PAIRS_FILE).write_bytes(b"nothing\n")
    with pytest.raises(BadInput, match="holds no pair that can be read"):
        read_preferences(tmp_path, project.trust.vault)


def test_a_damaged_part_of_lessons_is_asked_again(tmp_path: Path) -> None:
    import torch

    def lesson() -> Lesson:
        return Lesson(torch.ones(2, 3, dtype=torch.int32), torch.zeros(2, 3), torch.zeros(2))

    for name in ("first", "second"):
        notebook = Notebook(tmp_path)
        notebook.add(name, lesson())
        notebook.close({})
    (tmp_path / "part-00000.safetensors").write_bytes(b"damaged")
    with pytest.raises(BadInput, match="no lessons"):
        Lessons(tmp_path)
    again = Notebook(tmp_path)
    assert "first" not in again
    assert "second" in again
    again.add("first", lesson())
    again.close({})
    assert len(Lessons(tmp_path)) == 2


@pytest.mark.parametrize("file", ["tokens.bin", "documents.json"])
def test_a_corpus_that_was_damaged_between_two_attempts_is_made_again(
    tmp_path: Path, file: str
) -> None:
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}")
    np.arange(6, dtype=np.uint32).tofile(tmp_path / "tokens.bin")
    record = {"documents": ["a", "b"], "offsets": [0, 4, 6]}
    (tmp_path / "documents.json").write_text(json.dumps(record))
    assert corpus.is_whole(tmp_path)
    whole = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(whole[:-3])
    assert not corpus.is_whole(tmp_path)
