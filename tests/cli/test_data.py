"""``undercroft data``, as one types it, on datasets that curation really made."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.curate.conftest import project
from tests.versions.test_versions import FIRST, SECOND
from undercroft.cli.main import group
from undercroft.collect.stage import collect
from undercroft.curate.stage import curate
from undercroft.errors import BadInput, NotFound, Tampered
from undercroft.project import Project

__all__ = ["project"]


@pytest.fixture
def command(project: Callable[[Mapping[str, str]], Project]) -> Callable[..., Any]:
    """Runs ``undercroft -C PROJECT data …`` on a project with two versions."""
    for texts in (FIRST, SECOND):
        opened = project(texts)
        curate(opened, raw=collect(opened)[0])

    def run(*words: str) -> Any:
        found: Result = CliRunner().invoke(group, ["-C", str(opened.root), "data", *words])
        if found.exception is not None:
            raise found.exception
        return json.loads(found.output) if "--json" in words else found.output

    return run


def test_the_log_marks_the_version_in_use_by_age_or_by_decision(
    command: Callable[..., Any],
) -> None:
    assert [line[:19] for line in command("log").splitlines()] == [
        "▸ dataset:project@2",
        "  dataset:project@1",
    ]
    assert "dataset:project@golden is dataset:project@1" in command("tag", "project@1", "golden")
    assert "undercroft up" in command("restore", "project@golden", "--reason", "bad source")
    versions = command("log", "--json")
    assert [(v["ref"], v["in_use"], v["tags"]) for v in versions] == [
        ("dataset:project@2", False, []),
        ("dataset:project@1", True, ["golden"]),
    ]
    assert "(restored)" in command("log")
    command("restore", "--newest")
    assert command("ls", "--json")[0]["in_use"]
    with pytest.raises(BadInput, match="data log project"):
        command("restore", "project")


def test_differences_are_said_in_words_and_as_json(command: Callable[..., Any]) -> None:
    said = command("diff", "project@1")
    assert said.startswith("dataset:project@1 → dataset:project@2")
    assert "1 edited" in said
    assert "#new" in said
    assert command("diff", "project@1", "--json")["counts"]["added"] == 1
    assert "the same documents" in command("diff", "project@2")


def test_a_version_is_exported_described_and_proved(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "exported"
    files = command("export", "project@1", "--to", str(folder), "--format", "jsonl", "--json")
    assert [file["name"] for file in files["files"]] == ["data/train-00000-of-00001.jsonl"]
    card = (folder / "README.md").read_text().splitlines()
    assert [line for line in card if "data_files" not in line] == command(
        "card", "project@1"
    ).splitlines()
    assert "intact" in command("verify", "project@1")
    assert command("verify", "project@1", "--json")["intact"]
    assert command("show", "project@1", "--json")["ref"] == "dataset:project@1"


def test_a_changed_selection_is_an_error(command: Callable[..., Any], tmp_path: Path) -> None:
    uri = command("show", "project@1", "--json")["uri"].removeprefix("blob:")
    (file,) = tmp_path.rglob(f"blobs/{uri}/selection.parquet")
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-9] + b"x" + file.read_bytes()[-8:])
    with pytest.raises(Tampered, match="is not what was made"):
        command("verify", "project@1")


def test_a_name_that_is_not_there_gets_the_nearest(command: Callable[..., Any]) -> None:
    with pytest.raises(NotFound, match="dataset:project"):
        command("log", "projekt")
    with pytest.raises(BadInput, match="read as a version"):
        command("tag", "project", "7")
