"""Training that is to keep what earlier examples taught, in a real project."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from undercroft.errors import BadConfig, Cancelled
from undercroft.ledger import MadeArtifact
from undercroft.project import Project
from undercroft.records import Artifact, Example, Footprint
from undercroft.settings import ModelSettings, TrainSettings
from undercroft.stage import execute
from undercroft.train.reading import seen
from undercroft.train.samples.data import FILE_NAME
from undercroft.train.stage import base, train

PARAMS = TrainSettings(
    max_steps=4, batch_size=2, max_tokens=4096, checkpoint_seconds=0.01, learning_rate=1e-2,
    precision="fp32", mlflow="off",
)  # fmt: skip
KEPT: dict[str, float] = {"ewc": 10.0, "l2_to_base": 0.1, "kl_to_base": 0.5, "replay": 0.5}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project.open(tmp_path_factory.mktemp("docs"))


@pytest.fixture(scope="module")
def made(project: Project, tiny: Path, examples: list[Example]) -> dict[str, Artifact]:
    """Examples, and earlier ones about other documents."""
    return {
        "examples": put(project, "new", examples[:8]),
        "earlier": put(project, "old", examples[8:]),
        "base": base(project, ModelSettings(base=str(tiny)))[0],
    }


def put(project: Project, name: str, found: list[Example]) -> Artifact:
    folder = project.root / name
    folder.mkdir()
    lines = [json.dumps(asdict(each)) + "\n" for each in found]
    (folder / FILE_NAME).write_text("".join(lines), encoding="utf-8")
    uri, digest, size = project.lake.blobs.put(folder, "examples", name)
    run = project.ledger.begin_run("test", name, {}, [])
    stored = MadeArtifact("examples", name, digest, uri, size, {})
    return project.ledger.finish_run(run.id, [stored], Footprint())[0]


def changed(**values: Any) -> TrainSettings:
    return TrainSettings.model_validate({**PARAMS.model_dump(), **values})


def losses(project: Project, model: Artifact) -> list[float]:
    record = json.loads((project.path(model) / "training.json").read_text(encoding="utf-8"))
    found: list[float] = record["losses"]
    return found


def test_replayed_documents_are_in_the_record_of_what_was_read(
    project: Project, made: dict[str, Artifact]
) -> None:
    (model,) = train(project, changed(max_steps=12, replay=0.5), **made)
    assert made["earlier"].ref in project.ledger.run_of(model).inputs
    old = project.path(made["earlier"]) / FILE_NAME
    taught = {json.loads(line)["passages"][0]["document"] for line in old.open(encoding="utf-8")}
    assert taught == {"d4", "d5"}
    assert {each.document for each in seen(project, str(model.ref))} == {f"d{n}" for n in range(6)}


@pytest.mark.parametrize("name", ["ewc", "l2_to_base", "kl_to_base"])
def test_each_penalty_is_nothing_at_first_and_something_later(
    project: Project, made: dict[str, Artifact], name: str
) -> None:
    (plain,) = train(project, PARAMS, **made)
    (held,) = train(project, changed(**{name: 100 * KEPT[name]}), **made)
    ours, theirs = losses(project, held), losses(project, plain)
    assert ours[0] == pytest.approx(theirs[0], abs=1e-4)
    assert ours[1] > theirs[1]


def test_a_stopped_training_with_all_of_them_goes_on_to_the_same_model(
    project: Project, made: dict[str, Artifact]
) -> None:
    class AtACheckpoint:
        def is_set(self) -> bool:
            return any(project.state.glob("work/train-*/checkpoints/checkpoint-*"))

    params = changed(**KEPT, max_steps=12)
    plan = train.plan(project, params, **made)
    with pytest.raises(Cancelled):
        execute(project, plan, stop=AtACheckpoint())  # type: ignore[arg-type]
    assert (plan.workdir(project) / "importance.safetensors").exists()
    (resumed,) = execute(project, plan)
    assert project.ledger.events(resumed.run_id, "resumed")
    again = train.plan(project, changed(**KEPT, max_steps=12, checkpoint_seconds=1e6), **made)
    (straight,) = execute(project, again)
    assert losses(project, resumed) == losses(project, straight)


def test_without_earlier_examples_there_is_nothing_to_replay(
    project: Project, made: dict[str, Artifact]
) -> None:
    with pytest.raises(BadConfig, match=r"train\.replay is set, but no earlier examples"):
        train(project, changed(replay=0.2), examples=made["examples"], base=made["base"])
