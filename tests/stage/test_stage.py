"""What every stage can rely on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stage.toy import SpeakSettings, shout, speak
from undercroft.errors import BadInput, StageFailed, StorageFull
from undercroft.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.open(tmp_path)


def test_a_stage_commits_outputs_lineage_and_cost(project: Project) -> None:
    (speech,) = speak(project, SpeakSettings(text="good morning"))
    loud, louder = shout(project, speech=speech)

    assert project.path(loud).read_text() == "GOOD MORNING"
    assert project.path(louder).read_text() == "GOOD MORNING!"
    run = project.ledger.run_of(loud)
    assert run.inputs == (speech.ref,)
    assert run.outputs == (loud.ref, louder.ref)
    assert run.footprint.wall_s > 0
    above = {node.id for node in project.ledger.lineage(louder.ref, "up").nodes}
    assert str(speech.ref) in above
    assert project.trust.audit.verify().ok


def test_the_same_work_is_not_done_twice(project: Project) -> None:
    first = speak(project, SpeakSettings(text="once"))
    again = speak(project, SpeakSettings(text="once"))
    assert again == first
    assert len(project.ledger.runs(stage="speak")) == 1


def test_other_parameters_are_other_work(project: Project) -> None:
    (first,) = speak(project, SpeakSettings(text="one"))
    (second,) = speak(project, SpeakSettings(text="two"))
    assert (first.ref.version, second.ref.version) == (1, 2)


def test_equal_content_of_another_input_version_is_still_the_same_work(project: Project) -> None:
    (first,) = speak(project, SpeakSettings(text="same"))
    shout(project, speech=first)
    (second,) = speak(project, SpeakSettings(text="same", seconds=0.001))
    assert first.digest == second.digest
    shout(project, speech=second)
    assert len(project.ledger.runs(stage="shout")) == 1


def test_a_known_error_is_recorded_and_raised_as_it_is(project: Project) -> None:
    with pytest.raises(BadInput, match="The text is bad"):
        speak(project, SpeakSettings(fail="bad"))
    (run,) = project.ledger.runs(stage="speak")
    assert run.status == "failed"
    assert run.error is not None
    assert "Give another." in run.error
    assert project.ledger.artifacts() == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is full")
@pytest.mark.parametrize("fail", ["full", "library"])
def test_a_full_disk_is_told_as_such_whichever_library_met_it(project: Project, fail: str) -> None:
    with pytest.raises(StorageFull, match="disk filled up while 'speak' was running"):
        speak(project, SpeakSettings(fail=fail))


def test_an_unexpected_error_says_which_stage_failed_and_where_to_look(project: Project) -> None:
    with pytest.raises(StageFailed, match=r"'speak' failed\. ZeroDivisionError: oops\."):
        speak(project, SpeakSettings(fail="crash"))


def test_an_attempt_goes_on_where_a_dead_one_stopped(project: Project) -> None:
    settings = SpeakSettings(text="abcdef")
    workdir = speak.plan(project, settings).workdir(project)
    workdir.mkdir(parents=True)
    (workdir / "speech.txt").write_text("abc")
    speak(project, settings)
    assert (project.root / "characters-written.log").read_text() == "def"


def test_finished_work_leaves_no_scratch_folder(project: Project) -> None:
    speak(project, SpeakSettings())
    assert list((project.state / "work").iterdir()) == []
