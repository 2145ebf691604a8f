"""Erasure follows the thread, in a project of its own."""

from __future__ import annotations

from pathlib import Path

from tests.corpus import write_topics
from tests.system.conftest import Shell
from undercroft.project import Project


def test_a_forgotten_document_is_gone_and_what_it_reached_is_listed(tmp_path: Path) -> None:
    folder = write_topics(tmp_path / "notes", 24)
    secret = "The zanzibar procedure begins with unlocking the green cabinet in the cellar."
    (folder / "procedure.md").write_text(
        f"# Zanzibar procedure\n\n{secret} After that the procedure continues with the ledger "
        "of the day, which is carried upstairs and signed by two people.\n"
    )
    shell = Shell(tmp_path)
    shell.json("up", "notes", "--once")
    identity = _id_of(folder / "procedure.md")
    report = shell.json("-C", "notes", "forget", "--document", identity, "--yes")
    assert report["erased"]["raw"] == 1
    assert report["erased"]["documents"] == 1
    assert report["erased"]["vectors"] >= 1
    kinds = {ref.partition(":")[0] for ref in report["artifacts"]}
    assert {"raw", "dataset", "index", "examples", "model", "route"} <= kinds
    lake = folder / ".undercroft" / "lake"
    for table in ("raw", "documents", "vectors"):
        for file in (lake / f"{table}.lance").rglob("*"):
            assert not file.is_file() or b"zanzibar" not in file.read_bytes().lower(), file

    summary = shell.json("up", "notes", "--once")
    assert summary["dataset"] == "dataset:notes@2"
    assert summary["documents"]["collected"] == 24
    assert shell.run("-C", "notes", "audit", "verify").returncode == 0


def _id_of(path: Path) -> str:
    project = Project.open(path.parent)
    rows = project.lake.table("documents").read(["id", "uri"]).to_pylist()
    return str(next(row["id"] for row in rows if row["uri"].endswith(path.name)))
