"""A project whose raw table holds the documents a test gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from undercroft.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Project]:
    """Opens a project over texts by name, collected from one JSON Lines file."""
    root = tmp_path / "project"
    root.mkdir()

    def opened(texts: Mapping[str, str], **settings: object) -> Project:
        lines = [json.dumps({"id": name, "text": text}) for name, text in texts.items()]
        (root / "docs.jsonl").write_text("\n".join(lines))
        overrides: dict[str, object] = {"collect.sources": ["docs.jsonl"]}
        overrides |= {f"curate.{name}": value for name, value in settings.items()}
        return Project.open(root, overrides)

    return opened
