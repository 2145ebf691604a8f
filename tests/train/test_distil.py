"""A teacher, its lessons and a student, in a real project."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.train.test_keeping import losses, put
from undercroft.errors import BadInput, Cancelled
from undercroft.project import Project
from undercroft.records import Artifact, Example
from undercroft.settings import DistilSettings, ModelSettings
from undercroft.stage import execute
from undercroft.train.distil import lessons, same_tokens, student
from undercroft.train.models import folders
from undercroft.train.reading import seen
from undercroft.train.stage import base

PARAMS = DistilSettings(
    max_steps=6, batch_size=2, max_tokens=4096, checkpoint_seconds=0.01, learning_rate=1e-2,
    precision="fp32", mlflow="off", top_k=8, share=1.0, micro_batch_size=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project.open(tmp_path_factory.mktemp("docs"))


@pytest.fixture(scope="module")
def made(
    project: Project, tiny: Path, examples: list[Example], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Artifact]:
    """A student, and a teacher with the same tokenizer and other weights."""
    other = Path(shutil.copytree(tiny, tmp_path_factory.mktemp("other") / "model"))
    model, tokenizer = folders.load(tiny, "fp32")
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.7)
    folders.save(model, tokenizer, other)
    return {
        "source": put(project, "few", examples),
        "teacher": base(project, ModelSettings(base=str(other)))[0],
        "base": base(project, ModelSettings(base=str(tiny)))[0],
    }


def told(project: Project, made: dict[str, Artifact], params: DistilSettings = PARAMS) -> Artifact:
    (found,) = lessons(project, params.lessons, teacher=made["teacher"], source=made["source"])
    return found


def test_a_student_comes_closer_to_its_teacher_and_says_who_it_was(
    project: Project, made: dict[str, Artifact]
) -> None:
    (model,) = student(project, PARAMS, lessons=told(project, made), **made)
    points = [detail for _, _, detail in project.ledger.events(model.run_id, "metric")]
    assert points[-1]["teacher_kl"] < 0.7 * points[0]["teacher_kl"]
    assert points[0]["loss"] == pytest.approx(points[0]["teacher_kl"], rel=1e-4)
    assert made["teacher"].ref in project.ledger.run_of(model).inputs
    card = (project.path(model) / "README.md").read_text(encoding="utf-8")
    assert str(made["teacher"].ref) in card
    assert {each.document for each in seen(project, str(model.ref))} == {f"d{n}" for n in range(6)}


def test_lessons_are_found_again_by_every_student_that_is_shown_the_same(
    project: Project, made: dict[str, Artifact]
) -> None:
    first = told(project, made)
    other = PARAMS.model_copy(update={"learning_rate": 1e-3, "share": 0.5})
    assert told(project, made, other) == first
    assert told(project, made, PARAMS.model_copy(update={"top_k": 4})) != first
    assert first.meta["targets"] > 0
    assert first.meta["samples"] == 6


def test_a_teacher_that_was_stopped_goes_on_with_what_it_was_not_asked(
    project: Project, made: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("undercroft.train.samples.lessons._PART_BYTES", 1)
    params = PARAMS.model_copy(update={"top_k": 5}).lessons
    asked = {name: made[name] for name in ("teacher", "source")}
    plan = lessons.plan(project, params, **asked)

    class AtTheThird:
        def is_set(self) -> bool:
            return len(list(project.state.glob("work/lessons-*/lessons/part-*"))) >= 3

    with pytest.raises(Cancelled):
        execute(project, plan, stop=AtTheThird())  # type: ignore[arg-type]
    (whole,) = execute(project, plan)
    assert whole.meta["samples"] == 6


def test_a_stopped_student_goes_on_to_the_same_model(
    project: Project, made: dict[str, Artifact]
) -> None:
    class AtACheckpoint:
        def is_set(self) -> bool:
            return any(project.state.glob("work/student-*/checkpoints/checkpoint-*"))

    held = {"kl_to_base": 0.1, "l2_to_base": 0.1, "beside": {"examples:few": 0.3}}
    params = PARAMS.model_copy(update={"max_steps": 12, **held})
    inputs = {**made, "lessons": told(project, made), "examples:few": made["source"]}
    plan = student.plan(project, params, **inputs)
    with pytest.raises(Cancelled):
        execute(project, plan, stop=AtACheckpoint())  # type: ignore[arg-type]
    (resumed,) = execute(project, plan)
    assert project.ledger.events(resumed.run_id, "resumed")
    params = params.model_copy(update={"checkpoint_seconds": 1e6})
    (straight,) = student(project, params, **inputs)
    assert losses(project, resumed) == losses(project, straight)


def test_what_is_no_model_is_neither_teacher_nor_student(
    project: Project, made: dict[str, Artifact]
) -> None:
    data = made["source"]
    with pytest.raises(BadInput, match=r"few@1 cannot be a teacher\. Its format is None"):
        lessons(project, PARAMS.lessons, teacher=data, source=data)
    with pytest.raises(BadInput, match="few@1 cannot be a student"):
        student(project, PARAMS, lessons=data, **{**made, "base": data})


def test_a_teacher_with_other_tokens_is_refused(
    project: Project, made: dict[str, Artifact], tiny: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(tiny, tmp_path / "model"))
    tokenizer = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    (stranger,) = base(project, ModelSettings(base=str(other)))
    with pytest.raises(BadInput, match=r"cannot teach model:.*-base"):
        same_tokens(project, made["base"], stranger)
    with pytest.raises(BadInput, match="cannot teach"):
        student(project, PARAMS, lessons=told(project, made), **{**made, "teacher": stranger})
