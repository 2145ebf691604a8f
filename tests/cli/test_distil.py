"""``undercroft distil``: what it says when it cannot begin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from undercroft.cli.main import main


def refused(root: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[object, str]:
    """The exit code of ``undercroft distil`` and what it printed as an error."""
    with pytest.raises(SystemExit) as ended:
        main(["-C", str(root), "distil", *words, "--json"])
    lines = capsys.readouterr().err.splitlines()
    return ended.value.code, json.loads(lines[-1])["error"]["what"]


def test_a_teacher_that_there_is_not_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, what = refused(tmp_path, capsys, "--teacher", "model:none")
    assert code == 3
    assert "model:none" in what


def test_a_setting_that_cannot_be_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, what = refused(tmp_path, capsys, "--teacher", "model:none", "--share", "2")
    assert (code, what) == (2, "distil.share cannot be 2.0.")
