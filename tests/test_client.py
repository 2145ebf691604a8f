"""The gateway's client where nothing answers; real answers are in the system tests."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from undercroft.client import KEY_FILE, Answer, Gateway, Piece, local_key
from undercroft.errors import EngineFailed, NotFound
from undercroft.processes import GATEWAY, announce
from undercroft.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.open(tmp_path)


def test_without_a_gateway_the_next_command_is_named(project: Project) -> None:
    with pytest.raises(NotFound, match=f"undercroft up {project.root}"):
        Gateway(project).answer("Anybody?")


def test_a_gateway_that_does_not_answer_is_an_engine_failure(project: Project) -> None:
    with GATEWAY.listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    announce(project.state / GATEWAY.announcement, urls={"api": f"http://127.0.0.1:{port}/v1"})
    assert not Gateway(project).state().healthy
    with pytest.raises(EngineFailed, match="undercroft status"):
        Gateway(project).answer("Anybody?")


def test_the_local_key_is_kept_private_and_made_again_when_it_is_no_longer_accepted(
    project: Project,
) -> None:
    first = local_key(project)
    assert local_key(project) == first
    assert stat.S_IMODE((project.state / KEY_FILE).stat().st_mode) == 0o600
    project.trust.keys.revoke("local")
    assert local_key(project) != first


def test_an_answer_keeps_what_its_pieces_brought() -> None:
    answer = Answer()
    for piece in (
        Piece("A ", answer_id="1"),
        Piece("file."),
        Piece(sources=({"document": "a"},), tokens=3),
    ):
        answer.add(piece)
    assert answer == Answer("1", "A file.", [{"document": "a"}], 3)
