"""Several tasks in one run: documents as text beside examples as chats."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.corpus import write_topics
from tests.train.test_keeping import changed, losses, put
from undercroft.collect.stage import collect
from undercroft.curate.stage import curate
from undercroft.errors import BadConfig, BadInput, Cancelled
from undercroft.project import Project
from undercroft.records import Artifact, Example
from undercroft.settings import ModelSettings, TrainSettings
from undercroft.stage import execute
from undercroft.train.material import Material, Reading, Source, artifacts_beside, together
from undercroft.train.models import folders
from undercroft.train.objectives.objective import objective
from undercroft.train.reading import seen
from undercroft.train.samples.data import distinct, packs
from undercroft.train.samples.mixture import Sample
from undercroft.train.stage import base, train

SHARES = {"dataset:docs": 0.4, "examples:old": 0.2}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = write_topics(tmp_path_factory.mktemp("docs"), 4)
    (root / "undercroft.toml").write_text('[project]\nname = "docs"\n', encoding="utf-8")
    return Project.open(root)


@pytest.fixture(scope="module")
def made(project: Project, tiny: Path, examples: list[Example]) -> dict[str, Artifact]:
    (raw,) = collect(project)
    curate(project, raw=raw)
    put(project, "old", examples[8:])
    return {
        "examples": put(project, "new", examples[:8]),
        "base": base(project, ModelSettings(base=str(tiny)))[0],
    }


def reading(tiny: Path) -> Reading:
    _, tokenizer = folders.load(tiny, "fp32")
    return Reading(tokenizer, "tools", 4096, 2, 3)


def of(goal: object, found: list[Example]) -> Material:
    return Material(goal, packs(found, 2))  # type: ignore[arg-type]


def test_every_task_has_its_share_of_the_weight_however_long_its_samples_are(
    tiny: Path, examples: list[Example]
) -> None:
    how = reading(tiny)
    goal = objective("sft", how.tokenizer, how.title, how.max_tokens)
    long = [replace(each, answer=each.answer * 9, cited=()) for each in examples[8:]]
    beside = [
        Source("long", tuple(long), share=0.5),
        Source("few", tuple(examples[6:7]), share=0.1),
    ]
    whole = together(of(goal, examples[:6]), "main", beside, how)
    weights: Counter[str] = Counter()
    for sample in whole.samples:
        weights[sample.task] += whole.goal.collate(sample).count
    shares = {name: weight / weights.total() for name, weight in weights.items()}
    assert shares["long"] == pytest.approx(0.5, abs=0.1)
    assert shares["few"] == pytest.approx(0.1, abs=0.05)
    again = together(of(goal, examples[:6]), "main", beside, how)
    assert list(again.samples) == list(whole.samples)


def test_two_versions_of_the_same_data_are_two_tasks(tiny: Path, examples: list[Example]) -> None:
    how = reading(tiny)
    goal = objective("sft", how.tokenizer, how.title, how.max_tokens)
    earlier = [Source("docs", tuple(examples[at : at + 2]), share=0.2) for at in (6, 8)]
    whole = together(of(goal, examples[:6]), "docs", earlier, how)
    assert {sample.task for sample in whole.samples} == {"docs", "docs-2", "docs-3"}


def test_a_step_reports_each_tasks_loss_and_share(tiny: Path, examples: list[Example]) -> None:
    how = reading(tiny)
    model, _ = folders.load(tiny, "fp32")
    goal = objective("sft", how.tokenizer, how.title, how.max_tokens)
    old = Source("old", tuple(examples[6:]), share=0.5)
    whole = together(of(goal, examples[:6]), "main", [old], how)
    with torch.no_grad():
        batch = whole.goal.collate(Sample("old", tuple(examples[6:8])))
        terms = whole.goal.terms(model, batch)
        alone = goal.terms(model, goal.collate(examples[6:8]))
    assert float(terms.loss_sum) / terms.count == pytest.approx(float(alone.loss_sum) / alone.count)
    assert terms.metrics["old_loss"] == (float(alone.loss_sum), alone.count)
    assert "main_loss" not in terms.metrics
    assert terms.metrics["old_share"] == (float(terms.count), terms.count)
    assert terms.metrics["main_share"] == (0.0, terms.count)


def test_a_stopped_run_on_documents_and_examples_goes_on_to_the_same_model(
    project: Project, made: dict[str, Artifact]
) -> None:
    class AtACheckpoint:
        def is_set(self) -> bool:
            return any(project.state.glob("work/train-*/checkpoints/checkpoint-*"))

    params = changed(beside=SHARES, max_tokens=1200, max_steps=10, batch_size=4)
    beside = artifacts_beside(project, params, "train")
    plan = train.plan(project, params, **made, **beside)
    with pytest.raises(Cancelled):
        execute(project, plan, stop=AtACheckpoint())  # type: ignore[arg-type]
    (resumed,) = execute(project, plan)
    assert project.ledger.events(resumed.run_id, "resumed")
    other = changed(
        beside=SHARES, max_tokens=1200, max_steps=10, batch_size=4, checkpoint_seconds=1e6
    )
    (straight,) = execute(project, train.plan(project, other, **made, **beside))
    assert losses(project, resumed) == losses(project, straight)
    points = [detail for _, _, detail in project.ledger.events(straight.run_id, "metric")]
    assert any("dataset-docs_loss" in point for point in points)
    assert set(project.ledger.run_of(straight).inputs) == {
        each.ref for each in (*made.values(), *beside.values())
    }
    read = {each.document for each in seen(project, str(straight.ref))}
    assert any(name.startswith("d") for name in read)
    assert any(name not in {f"d{n}" for n in range(6)} for name in read)


def test_what_is_beside_must_be_there_and_leave_something(project: Project, made: object) -> None:
    with pytest.raises(BadConfig, match="names 'dataset:dcs'"):
        artifacts_beside(project, TrainSettings(beside={"dataset:dcs": 0.2}), "train")
    everything = TrainSettings(beside={"dataset:docs": 0.5, "examples:old": 0.5})
    with pytest.raises(BadConfig, match="leaves nothing"):
        artifacts_beside(project, everything, "train")


def test_copies_are_read_once_and_nothing_but_copies_is_refused(examples: list[Example]) -> None:
    copies = [replace(examples[0], id=str(number)) for number in range(3)]
    assert distinct([*copies, examples[1], examples[0]], "examples:x") == [copies[0], examples[1]]
    with pytest.raises(BadInput, match="All 3 examples of examples:x are the same"):
        distinct(copies, "examples:x")


def test_examples_that_are_too_long_are_listed_beside_the_model(
    project: Project, made: dict[str, Artifact], examples: list[Example]
) -> None:
    long = replace(examples[0], id="long", answer="cup " * 500)
    params = changed(max_tokens=1200, max_steps=6)
    given = put(project, "some-long", [*examples[:4], long])
    (model,) = train(project, params, examples=given, base=made["base"])
    lines = (project.path(model) / "left_out.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["id"] for line in lines} == {"long"}
    assert model.meta["left_out"] > 0
    none = put(project, "all-long", [long, replace(long, id="longer", answer="c" * 4000)])
    with pytest.raises(BadInput, match="No example is short enough"):
        train(project, params, examples=none, base=made["base"])
