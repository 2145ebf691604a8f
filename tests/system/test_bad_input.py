"""Wrong input at the command line: one clear error, the right exit code, and nothing lost."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.system.conftest import Shell, error_of


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_an_empty_folder(shell: Shell) -> None:
    (shell.folder / "empty").mkdir()
    code, error = error_of(shell, "up", "empty", "--once")
    assert code == 2
    assert error["code"] == "bad_source"
    assert error["do"]


def test_a_target_that_is_nothing(shell: Shell) -> None:
    code, error = error_of(shell, "up", "nowhere")
    assert (code, error["code"]) == (2, "bad_source")
    assert "nowhere" in error["what"]


def test_an_address_nobody_answers_at(shell: Shell) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code, error = error_of(shell, "up", f"http://127.0.0.1:{port}/", "--once")
    assert (code, error["code"]) == (2, "bad_source")
    assert str(port) in error["what"] + error["why"]


def test_an_unknown_key_is_answered_with_the_nearest(shell: Shell) -> None:
    (shell.folder / "undercroft.toml").write_text("[train]\nminuts = 1\n")
    code, error = error_of(shell, "up", ".")
    assert (code, error["code"]) == (2, "bad_config")
    assert "'minutes'" in error["why"]
    code, error = error_of(shell, "-C", ".", "up", "--set", "trian.minutes=1")
    assert code == 2


def test_a_port_in_use_is_said_before_any_work_is_done(shell: Shell) -> None:
    (shell.folder / "docs").mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, error = error_of(shell, "up", "docs", "--set", f"serve.port={port}")
    assert (code, error["code"]) == (4, "busy")
    assert str(port) in error["what"]
    assert "serve.port=0" in error["do"]


def test_no_project_here(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.environ["XDG_STATE_HOME"] = str(shell.folder / "state")
    code, error = error_of(shell, "ls")
    assert (code, error["code"]) == (3, "not_found")
    assert "undercroft up" in error["do"]


def test_asking_when_nothing_is_served(shell: Shell) -> None:
    (shell.folder / "undercroft.toml").write_text("")
    code, error = error_of(shell, "-C", ".", "ask", "Anybody there?")
    assert (code, error["code"]) == (3, "not_found")
    assert "undercroft up" in error["do"]


def test_a_mistyped_command_is_answered_with_the_nearest(shell: Shell) -> None:
    done = shell.run("lineag")
    assert done.returncode == 2
    assert "'lineage'" in done.stderr
