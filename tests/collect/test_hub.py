"""Datasets in the layout of the Hugging Face Hub."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.collect.test_files import gathered
from undercroft.errors import BadSource
from undercroft.project import Project

Opened = Callable[..., Project]
ROWS = [{"id": n, "body": f"Row number {n} of a dataset.", "stars": n} for n in range(3)]


def dataset(root: Path, column: str = "text") -> Path:
    folder = root / "corpus"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# A corpus\n")
    rows = [{**row, column: row["body"]} for row in ROWS]
    for row in rows if column != "body" else []:
        del row["body"]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "data/train.jsonl").write_text(lines)
    return folder


def test_rows_become_documents_under_the_licence_of_the_card(project: Opened) -> None:
    opened = project("hf:./corpus")
    dataset(opened.root)
    assert gathered(opened) == {f"hf:./corpus#{row['id']}": row["body"] for row in ROWS}
    assert set(opened.lake.table("raw").read(["licence"])["licence"].to_pylist()) == {"cc-by-4.0"}
    version = opened.lake.table("raw").version
    gathered(opened)
    assert opened.lake.table("raw").version == version


def test_the_column_with_the_text_can_be_named(project: Opened) -> None:
    opened = project("hf:./corpus?text=story")
    dataset(opened.root, "story")
    assert list(gathered(opened).values()) == [row["body"] for row in ROWS]
    with pytest.raises(BadSource, match="known to hold text"):
        gathered(project("hf:./corpus"))


@pytest.mark.parametrize(
    "spec",
    ["hf:./missing", "hf:./corpus?split=nope", "hf:./corpus?colour=red", "hf:nobody/nothing"],
)
def test_what_cannot_be_read_is_one_clear_error(
    project: Opened, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    opened = project(spec)
    dataset(opened.root)
    started = time.monotonic()
    with pytest.raises(BadSource):
        gathered(opened)
    assert time.monotonic() - started < 30
