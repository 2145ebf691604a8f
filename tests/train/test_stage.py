"""From documents to a trained model, in a real project."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.corpus import write_topics
from undercroft.annotate.stage import examples
from undercroft.collect.stage import collect
from undercroft.curate.stage import curate
from undercroft.errors import BadInput, Cancelled
from undercroft.lake import read_dataset
from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.settings import (
    ClusterSettings,
    ModelSettings,
    ParallelSettings,
    TrainSettings,
)
from undercroft.stage import execute
from undercroft.train.reading import seen
from undercroft.train.room import demand_room
from undercroft.train.stage import base, train

PARAMS = TrainSettings(max_steps=3, batch_size=2, max_tokens=4096, checkpoint_seconds=0.01)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project.open(write_topics(tmp_path_factory.mktemp("docs"), 8))


@pytest.fixture(scope="module")
def made(project: Project, tiny: Path) -> dict[str, Artifact]:
    (raw,) = collect(project)
    (dataset,) = curate(project, raw=raw)
    few, suite = examples(project, dataset=dataset)
    (start,) = base(project, ModelSettings(base=str(tiny)))
    return {"examples": few, "suite": suite, "base": start}


def test_examples_and_suite_are_files_of_one_object_a_line(
    project: Project, made: dict[str, Artifact]
) -> None:
    for kind, file in (("examples", "examples.jsonl"), ("suite", "cases.jsonl")):
        lines = (project.path(made[kind]) / file).read_text(encoding="utf-8").splitlines()
        assert len(lines) == made[kind].meta["examples"] > 0
        assert {"question", "answer", "passages", "group"} <= json.loads(lines[0]).keys()
        assert all(json.loads(line)["synthetic"] for line in lines)


def test_training_makes_a_model_with_card_curve_and_facts(
    project: Project, made: dict[str, Artifact]
) -> None:
    (model,) = train(project, PARAMS, examples=made["examples"], base=made["base"])
    folder = project.path(model)
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md", "training.json"} <= (
        names
    )
    assert "synthetic examples" in (folder / "README.md").read_text(encoding="utf-8")
    assert model.meta["steps"] == 3
    assert model.meta["format"] == "safetensors"
    assert model.meta["licence"] == made["base"].meta["licence"]
    points = project.ledger.events(model.run_id, "metric")
    assert [detail["step"] for _, _, detail in points] == [1, 2, 3]
    assert {"loss", "grad_norm", "lr", "tokens_per_s"} <= points[0][2].keys()
    assert (project.state / "mlflow.db").exists()
    read = seen(project, str(model.ref))
    assert {step for each in read for step in each.steps} == {1, 2, 3}
    assert {each.document for each in read} <= set(
        read_dataset(project.lake, project.ledger.artifact(f"dataset:{project.name}"), ["id"])[
            "id"
        ].to_pylist()
    )
    again = train(project, PARAMS, examples=made["examples"], base=made["base"])
    assert again == (model,)


def test_a_model_trained_with_adapters_is_whole_and_brings_them_along(
    project: Project, made: dict[str, Artifact]
) -> None:
    params = PARAMS.model_copy(update={"lora_rank": 4, "max_steps": 1})
    (model,) = train(project, params, examples=made["examples"], base=made["base"])
    folder = project.path(model)
    assert {path.name for path in (folder / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert model.meta["parameters"] == made["base"].meta["parameters"]


def test_a_cancelled_training_goes_on_where_it_stopped(
    project: Project, made: dict[str, Artifact]
) -> None:
    params = PARAMS.model_copy(update={"max_steps": 6, "seed": 4})
    plan = train.plan(project, params, examples=made["examples"], base=made["base"])
    stop = _StopAfter(4)
    with pytest.raises(Cancelled):
        execute(project, plan, stop=stop)
    assert list((plan.workdir(project) / "checkpoints").glob("checkpoint-*"))
    (model,) = execute(project, plan)
    assert project.ledger.events(model.run_id, "resumed")
    assert model.meta["steps"] == 6
    assert not plan.workdir(project).exists()


def test_more_copies_than_there_is_memory_for_are_refused_before_the_start(tiny: Path) -> None:
    params = PARAMS.model_copy(update={"parallel": ParallelSettings(processes=4)})
    with pytest.raises(BadInput, match="4 processes that train") as error:
        demand_room(tiny, params, "train", ClusterSettings(), free_bytes=2_000_000)
    assert "train.parallel.processes to 2 or less" in error.value.do
    demand_room(tiny, params, "train", ClusterSettings(engine="ray"), free_bytes=2_000_000)
    adapters = params.model_copy(update={"lora_rank": 4})
    demand_room(tiny, adapters, "train", ClusterSettings(), free_bytes=2_000_000)


@pytest.mark.parametrize(
    ("free", "fits"), [(130_000, "Adapters fit"), (40_000, "in 4 bits fit"), (9_000, "a smaller")]
)
def test_a_model_that_memory_has_no_room_for_is_refused_with_what_fits(
    tiny: Path, free: int, fits: str
) -> None:
    with pytest.raises(BadInput, match=r"^Training a model of \d+,\d+ parameters") as error:
        demand_room(tiny, PARAMS, "distil", ClusterSettings(), free_bytes=free)
    assert fits in error.value.do


class _StopAfter:
    """Looks like the event that stops a run; set after it was looked at ``times`` times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0
