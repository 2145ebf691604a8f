"""Durable jobs, with real workers in real processes that are really killed."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stage.toy import SpeakSettings, shout, speak
from undercroft.errors import BadInput, Busy, EngineFailed
from undercroft.jobs import Queued, only_one, workers
from undercroft.project import Project
from undercroft.records import Progress

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.open(tmp_path)


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Queued]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    queued = Queued(command=("-m", "tests.stage.worker"))
    yield queued
    queued.close()


def test_a_queued_stage_runs_on_a_worker_and_shows_its_progress(
    project: Project, queue: Queued
) -> None:
    seen: list[Progress | None] = []
    plan = speak.plan(project, SpeakSettings(text="hello there", seconds=1.5))
    (speech,) = queue.run(project, plan, seen.append)
    assert project.path(speech).read_text() == "hello there"
    assert project.ledger.run_of(speech).footprint.wall_s > 1
    assert {step.unit for step in seen if step} == {"characters"}
    loud, _ = queue.run(project, shout.plan(project, speech=speech), seen.append)
    assert project.path(loud).read_text() == "HELLO THERE"


def test_a_failing_stage_raises_its_own_error_and_can_be_tried_again(
    project: Project, queue: Queued
) -> None:
    plan = speak.plan(project, SpeakSettings(fail="bad"))
    for _ in range(2):
        with pytest.raises(BadInput, match="The text is bad"):
            queue.run(project, plan, lambda _: None)
    assert [run.status for run in project.ledger.runs(stage="speak")] == ["failed", "failed"]


def test_a_worker_killed_at_random_moments_neither_loses_nor_repeats_work(
    project: Project, queue: Queued
) -> None:
    text = "".join(random.choices("abcdefghij", k=120))
    plan = speak.plan(project, SpeakSettings(text=text, seconds=3.0))
    outcome: list[str] = []

    def run() -> None:
        (speech,) = queue.run(project, plan, lambda _: None)
        outcome.append(project.path(speech).read_text())

    waiting = threading.Thread(target=run)
    waiting.start()
    kills = 0
    while waiting.is_alive() and kills < 3:
        time.sleep(random.uniform(0.5, 1.5))
        for pid in workers(project):
            os.kill(pid, signal.SIGKILL)
            kills += 1
    waiting.join(60)
    assert outcome == [text]
    (run_row,) = project.ledger.runs(stage="speak")
    assert run_row.status == "finished"
    assert len(project.ledger.artifacts("examples")) == 1
    written = (project.root / "characters-written.log").read_text()
    assert len(text) - kills <= len(written) <= len(text)


def test_a_worker_that_always_dies_is_reported_with_its_log(
    project: Project, queue: Queued
) -> None:
    plan = speak.plan(project, SpeakSettings(fail="die"))
    with pytest.raises(EngineFailed, match="keeps dying"):
        queue.run(project, plan, lambda _: None)
    assert project.ledger.artifacts() == []


def test_only_one_process_works_on_a_project(tmp_path: Path) -> None:
    held = only_one(tmp_path / "lock", "The project docs")
    with (
        held,
        pytest.raises(Busy, match="The project docs is already up"),
        only_one(tmp_path / "lock", "The project docs"),
    ):
        pass
