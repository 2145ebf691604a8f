"""From pairs and a model to an aligned model, in a real project."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.train.test_keeping import put
from tests.train.test_stage import _StopAfter
from undercroft.collect.preferences import PairSources, preferences
from undercroft.compress.stage import compress
from undercroft.errors import BadConfig, BadInput, Cancelled, StageFailed
from undercroft.project import Project
from undercroft.records import Artifact, Example
from undercroft.settings import AlignSettings, CompressSettings, ModelSettings, ParallelSettings
from undercroft.stage import execute
from undercroft.train.align import align
from undercroft.train.models import folders
from undercroft.train.reading import seen
from undercroft.train.stage import base

PARAMS = AlignSettings(
    max_steps=16,
    batch_size=4,
    learning_rate=1e-2,
    lora_rank=4,
    max_tokens=512,
    checkpoint_seconds=0.01,
    precision="fp32",
    mlflow="off",
    nll=0.0,
)


def write_pairs(path: Path, count: int = 8) -> Path:
    """Pairs in which a question is answered with yes, and not with no."""
    rows = [
        {"prompt": f"Is {n} one?", "chosen": "Yes.", "rejected": "No, never."} for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("align")
    (root / "undercroft.toml").write_text('[project]\nname = "pets"\n')
    return Project.open(root)


@pytest.fixture(scope="module")
def parent(project: Project, tiny: Path) -> Artifact:
    (made,) = base(project, ModelSettings(base=str(tiny)))
    return made


@pytest.fixture(scope="module")
def pairs(project: Project) -> Artifact:
    path = write_pairs(project.root / "pairs.jsonl")
    (made,) = preferences(project, PairSources(sources=[str(path)]))
    return made


def changed(**values: Any) -> AlignSettings:
    return AlignSettings.model_validate({**PARAMS.model_dump(), **values})


def test_a_model_comes_to_prefer_what_was_chosen_and_can_be_served(
    project: Project, parent: Artifact, pairs: Artifact
) -> None:
    (made,) = align(project, PARAMS, model=parent, preferences=pairs)
    assert str(made.ref) == "model:pets-base-aligned@1"
    assert set(project.ledger.run_of(made).inputs) == {parent.ref, pairs.ref}
    assert made.meta["parameters"] == parent.meta["parameters"]
    assert (made.meta["pairs"], made.meta["too_long"], made.meta["objective"]) == (8, 0, "dpo")
    points = [detail for _, _, detail in project.ledger.events(made.run_id, "metric")]
    assert points[0]["loss"] == pytest.approx(math.log(2), rel=1e-5)
    assert points[-1]["loss"] < 0.7 * points[0]["loss"]
    assert points[-1]["pair_accuracy"] == 1.0
    folder = project.path(made)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "prefers what was chosen" in card
    sound, before = made.meta["sound"], made.meta["parent_sound"]
    assert sound["perplexity"] <= PARAMS.max_perplexity_ratio * before["perplexity"]
    assert (
        f"| perplexity of plain text | {before['perplexity']:g} | {sound['perplexity']:g} |" in card
    )
    assert (folder / "adapter" / "adapter_config.json").exists()
    (served,) = compress(project, CompressSettings(formats=["q8_0"]), model=made)
    assert str(served.ref) == "model:pets-base-aligned-q8_0@1"


def test_a_model_that_talks_worse_is_refused_and_can_be_kept_all_the_same(
    project: Project, parent: Artifact, pairs: Artifact
) -> None:
    strict = {"max_steps": 2, "max_perplexity_ratio": 0.5}
    with pytest.raises(StageFailed, match="talks worse") as error:
        align(project, changed(**strict), model=parent, preferences=pairs)
    assert "where 0.5 is the most" in error.value.why
    assert "align.learning_rate" in error.value.do
    kept = changed(**strict | {"max_perplexity_ratio": 0.0})
    (made,) = align(project, kept, model=parent, preferences=pairs)
    assert made.meta["sound"]["perplexity"] > 0.5 * made.meta["parent_sound"]["perplexity"]


def test_a_reward_model_gives_the_chosen_answer_more(
    project: Project, parent: Artifact, pairs: Artifact
) -> None:
    params = changed(objective="reward")
    (made,) = align(project, params, model=parent, preferences=pairs)
    assert made.name == "pets-base-reward"
    assert made.meta["architecture"] == "LlamaForSequenceClassification"
    model, tokenizer = folders.load_scorer(project.path(made), "fp32")

    def score(answer: str) -> float:
        chat = [{"role": "user", "content": "Is 3 one?"}, {"role": "assistant", "content": answer}]
        text = tokenizer.apply_chat_template(chat, tokenize=False).strip()
        return float(model(**tokenizer(text, return_tensors="pt")).logits.detach())

    assert score("Yes.") > score("No, never.") + 1
    with pytest.raises(BadInput, match="gives numbers"):
        align(project, PARAMS, model=made, preferences=pairs)


def test_a_cancelled_alignment_of_all_weights_goes_on_with_the_same_reference(
    project: Project, parent: Artifact, pairs: Artifact
) -> None:
    params = changed(objective="ipo", lora_rank=0, max_steps=6, learning_rate=1e-3)
    plan = align.plan(project, params, model=parent, preferences=pairs)
    with pytest.raises(Cancelled):
        execute(project, plan, stop=_StopAfter(9))
    reference = plan.workdir(project) / "reference.json"
    assert len(json.loads(reference.read_text())) == 8
    assert list((plan.workdir(project) / "checkpoints").glob("checkpoint-*"))
    (made,) = execute(project, plan)
    assert project.ledger.events(made.run_id, "resumed")
    losses = json.loads((project.path(made) / "training.json").read_text())["losses"]
    assert losses[0] == pytest.approx((1 / (2 * params.beta)) ** 2, rel=1e-5)
    assert losses[-1] < losses[0]
    assert len(losses) == 6
    assert not (project.path(made) / "adapter").exists()


def test_two_processes_align_by_one_reference_as_one_does(
    project: Project, parent: Artifact, pairs: Artifact
) -> None:
    params = changed(objective="ipo", lora_rank=0, max_steps=4, learning_rate=1e-3)
    both = params.model_copy(update={"parallel": ParallelSettings(processes=2)})
    (one,), (two,) = (
        align(project, each, model=parent, preferences=pairs) for each in (params, both)
    )
    first, second = (
        json.loads((project.path(each) / "training.json").read_text()) for each in (one, two)
    )
    assert second["losses"] == pytest.approx(first["losses"], rel=1e-5)
    assert two.meta["parent_sound"] == one.meta["parent_sound"]
    told = [detail["who"] for _, _, detail in project.ledger.events(two.run_id, "heard")]
    assert told == ["parent", "model"]


def test_pairs_that_are_all_too_long_say_what_to_change(
    project: Project, parent: Artifact, tmp_path: Path
) -> None:
    path = tmp_path / "long.jsonl"
    row = {"prompt": "Why?", "chosen": "So. " * 100, "rejected": "No."}
    path.write_text(json.dumps(row) + "\n")
    (long,) = preferences(project, PairSources(name="long", sources=[str(path)]))
    with pytest.raises(BadInput, match=r"align\.max_tokens"):
        align(project, changed(max_tokens=64), model=parent, preferences=long)


def test_a_quantised_model_is_no_parent(
    project: Project, parent: Artifact, pairs: Artifact
) -> None:
    (small,) = compress(project, CompressSettings(formats=["q8_0"]), model=parent)
    with pytest.raises(BadInput, match="goes on from safetensors"):
        align(project, PARAMS, model=small, preferences=pairs)


def test_pairs_are_learnt_beside_examples_and_held_to_the_parent(
    project: Project, parent: Artifact, pairs: Artifact, examples: list[Example]
) -> None:
    taught = put(project, "tools", examples[:4])
    params = changed(
        beside={"examples:tools": 0.5}, kl_to_base=0.1, l2_to_base=0.1, max_tokens=2048
    )
    beside = {"examples:tools": taught}
    (made,) = align(project, params, model=parent, preferences=pairs, **beside)
    assert taught.ref in project.ledger.run_of(made).inputs
    assert (made.meta["pairs"], made.meta["too_long"]) == (8, 0)
    points = [detail for _, _, detail in project.ledger.events(made.run_id, "metric")]
    known = {name for point in points for name in point}
    assert {"preferences_loss", "examples-tools_loss", "kl_to_reference", "l2_to_start"} <= known
    assert {each.document for each in seen(project, str(made.ref))} == {"d0", "d1"}


def test_a_reward_model_is_not_held_to_what_another_says(
    project: Project, parent: Artifact, pairs: Artifact
) -> None:
    params = changed(objective="reward", kl_to_base=0.1)
    with pytest.raises(BadConfig, match="A reward model says nothing"):
        align(project, params, model=parent, preferences=pairs)
