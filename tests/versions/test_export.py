"""Exports are read back with the libraries that people use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.curate.test_stage import TEXTS
from undercroft.errors import BadInput, NotFound, StorageFull
from undercroft.lake import read_dataset
from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.versions import export as module
from undercroft.versions.card import card
from undercroft.versions.export import FORMATS, Format, export

Made = Callable[..., tuple[Project, Artifact]]


def rows_in(folder: Path, form: Format) -> list[dict[str, object]]:
    files = sorted((folder / "data").iterdir())
    if form == "parquet":
        return [row for file in files for row in pq.read_table(file).to_pylist()]
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_holds_the_kept_documents_masked(
    made: Made, tmp_path: Path, form: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FILE_ROWS", 2)
    project, dataset = made(TEXTS)
    folder = tmp_path / "out"
    files = export(project, dataset, folder, form)
    assert len(files) == 2
    assert rows_in(folder, form) == read_dataset(project.lake, dataset).to_pylist()
    assert "ada@lovelace.org" not in "".join(map(str, rows_in(folder, form)))
    for file in files:
        content = (folder / file.name).read_bytes()
        assert (file.sha256, file.size_bytes) == (hashlib.sha256(content).hexdigest(), len(content))


def test_the_description_names_every_file_with_its_digest(made: Made, tmp_path: Path) -> None:
    project, dataset = made(TEXTS)
    files = export(project, dataset, tmp_path / "out")
    described = json.loads((tmp_path / "out" / "croissant.json").read_text())
    assert described["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert [(d["contentUrl"], d["sha256"]) for d in described["distribution"]] == [
        (file.name, file.sha256) for file in files
    ]
    fields = [field["name"] for field in described["recordSet"][0]["field"]]
    assert fields == read_dataset(project.lake, dataset).column_names


def test_a_card_is_made_of_the_ledgers_facts(made: Made) -> None:
    project, dataset = made(TEXTS)
    text = card(project, dataset, "data/*.parquet")
    front = yaml.safe_load(text.split("---")[1])
    assert front["configs"] == [{"config_name": "default", "data_files": "data/*.parquet"}]
    assert front["language"] == ["en"]
    assert "3 of 7 documents" in text
    assert "| too_short | 1 |" in text
    assert "1 email" in text
    assert dataset.digest in text
    assert "raw:project@1" in text


def test_a_folder_with_something_in_it_is_left_as_it_is(made: Made, tmp_path: Path) -> None:
    project, dataset = made(TEXTS)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match="not empty"):
        export(project, dataset, tmp_path)
    (tmp_path / "empty").mkdir()
    export(project, dataset, tmp_path / "empty")
    assert sorted(p.name for p in (tmp_path / "empty").iterdir()) == [
        "README.md",
        "croissant.json",
        "data",
    ]


def test_an_export_that_fails_leaves_nothing_at_its_place(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, dataset = made(TEXTS)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(StorageFull, match="disk is full"):
        export(project, dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_an_export_for_a_purpose_has_its_rows_and_columns(made: Made, tmp_path: Path) -> None:
    purposes = {"personal": {"where": "num_pii > 0", "columns": ["uri", "text"]}}
    project, dataset = made(TEXTS, purposes=purposes)
    export(project, dataset, tmp_path / "out", "jsonl", purpose="personal")
    rows = rows_in(tmp_path / "out", "jsonl")
    assert [set(row) for row in rows] == [{"uri", "text"}]
    assert str(rows[0]["uri"]).endswith("#personal")
    with pytest.raises(NotFound, match="persnal"):
        export(project, dataset, tmp_path / "other", purpose="persnal")
