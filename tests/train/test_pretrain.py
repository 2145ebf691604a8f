"""A dataset becomes a model of its own, in a real project."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.corpus import write_topics
from undercroft.annotate.stage import examples
from undercroft.cli.curve import curve
from undercroft.cli.main import group
from undercroft.collect.stage import collect
from undercroft.curate.stage import curate
from undercroft.errors import BadConfig, BadInput, NotFound
from undercroft.govern import forget
from undercroft.lake import read_dataset
from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.settings import CurateSettings, ParallelSettings, TrainSettings
from undercroft.stage import execute
from undercroft.train.pretrain import pretrain
from undercroft.train.reading import seen
from undercroft.train.samples import corpus
from undercroft.train.stage import train

SETTINGS = """
[project]
name = "docs"
[pretrain]
layers = 2
width = 32
heads = 4
vocabulary = 400
context = 64
max_steps = 20
batch_size = 4
micro_batch_size = 2
learning_rate = 1e-2
mlflow = "off"  # which takes seconds of every run to start
[train]
mlflow = "off"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = write_topics(tmp_path_factory.mktemp("docs"), 8)
    (folder / "undercroft.toml").write_text(SETTINGS)
    return Project.open(folder)


@pytest.fixture(scope="module")
def dataset(project: Project) -> Artifact:
    (raw,) = collect(project)
    (made,) = curate(project, raw=raw)
    return made


@pytest.fixture(scope="module")
def command(project: Project) -> Callable[..., Any]:
    """Runs ``undercroft …`` on the project as one types it."""

    def run(*words: str) -> Any:
        found = CliRunner().invoke(group, ["-C", str(project.root), *words])
        if found.exception is not None:
            raise found.exception
        return json.loads(found.stdout) if "--json" in words else found.stdout

    return run


@pytest.fixture(scope="module")
def model(project: Project, dataset: Artifact, command: Callable[..., Any]) -> Artifact:
    return project.ledger.artifact(command("pretrain", "--json")["ref"])


def losses(project: Project, model: Artifact) -> list[float]:
    record = json.loads((project.path(model) / "training.json").read_text(encoding="utf-8"))
    return list(record["losses"])


def test_a_dataset_becomes_a_model_with_tokenizer_card_curve_and_lineage(
    project: Project, dataset: Artifact, model: Artifact
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = project.path(model)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    llama = AutoModelForCausalLM.from_pretrained(folder)
    assert len(tokenizer) == llama.config.vocab_size == model.meta["vocabulary"] == 400
    assert llama.num_parameters() == model.meta["parameters"]
    ids = tokenizer("The with statement", return_tensors="pt")
    assert llama.generate(**ids, max_new_tokens=3, do_sample=False).shape[1] > 3
    assert str(dataset.ref) in (folder / "README.md").read_text(encoding="utf-8")
    points = project.ledger.events(model.run_id, "metric")
    assert [detail["step"] for _, _, detail in points] == list(range(1, 21))
    assert points[-1][2]["loss"] < points[0][2]["loss"] < 6.2  # ln 400 is 5.99
    assert dataset.ref in project.ledger.run_of(model).inputs
    assert str(dataset.ref) in {node.id for node in project.ledger.lineage(model.ref, "up").nodes}


def test_every_character_is_read_though_documents_are_longer_than_the_context(
    project: Project, dataset: Artifact, tmp_path: Path
) -> None:
    corpus.prepare(project, dataset, tmp_path / "c", vocabulary=400, context=64)
    read, tokenizer, _ = corpus.read(tmp_path / "c")
    texts = read_dataset(project.lake, dataset, ["id", "text"]).to_pylist()
    by_id = {row["id"]: row["text"] for row in texts}
    assert sorted(read.documents) == sorted(by_id)
    for number, name in enumerate(read.documents):
        own = read.tokens[read.offsets[number] : read.offsets[number + 1]].tolist()
        assert len(own) > 64
        assert tokenizer.decode(own[1:-1], skip_special_tokens=False) == by_id[name]


KILLED = """
import sys
from pathlib import Path
import torch
from undercroft.project import Project
from undercroft.settings import PretrainSettings
from undercroft.train.pretrain import pretrain
torch.set_num_threads(1)
params = PretrainSettings.model_validate_json(sys.argv[3])
pretrain(Project.open(Path(sys.argv[1])), params, dataset=sys.argv[2])
"""


def test_a_killed_pretraining_goes_on_with_bit_identical_losses(
    project: Project, dataset: Artifact, model: Artifact
) -> None:
    # The same work with checkpoints all the time, so that it is not remembered.
    params = project.settings.pretrain.model_copy(update={"checkpoint_seconds": 1e-6})
    plan = pretrain.plan(project, params, dataset=dataset)
    words = [str(project.root), str(dataset.ref), params.model_dump_json()]
    killed = subprocess.Popen([sys.executable, "-c", KILLED, *words])
    checkpoints = plan.workdir(project) / "checkpoints"
    while not list(checkpoints.glob("checkpoint-*")):
        assert killed.poll() is None
        time.sleep(0.001)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    (resumed,) = execute(project, plan)
    (event,) = project.ledger.events(resumed.run_id, "resumed")
    assert 0 < event[2]["step"] <= 20
    assert losses(project, resumed) == losses(project, model)
    weights = "model.safetensors"
    assert (project.path(resumed) / weights).read_bytes() == (
        project.path(model) / weights
    ).read_bytes()
    assert seen(project, str(resumed.ref))[0].steps == seen(project, str(model.ref))[0].steps


@pytest.mark.parametrize("shard", [1, 2])
def test_two_processes_make_the_model_that_one_makes(
    project: Project, dataset: Artifact, shard: int
) -> None:
    """Be it in whole copies, or cut so that its weights are never in one process."""
    import torch
    from safetensors.torch import load_file

    params = project.settings.pretrain.model_copy(
        update={"precision": "fp32", "max_steps": 6, "optimizer": "adamw"}
    )
    parallel = ParallelSettings(processes=2, shard=shard)
    both = params.model_copy(update={"parallel": parallel})
    (one,), (two,) = (pretrain(project, each, dataset=dataset) for each in (params, both))
    assert losses(project, two) == pytest.approx(losses(project, one), rel=1e-5)
    expected, found = (load_file(project.path(m) / "model.safetensors") for m in (one, two))
    assert found.keys() == expected.keys()
    for name, weight in found.items():  # kept in bf16
        torch.testing.assert_close(weight, expected[name], rtol=2**-7, atol=1e-4)
    assert (two.meta["processes"], two.meta["restarts"]) == (2, 0)
    assert 0 < two.meta["goodput"] < 1
    points = project.ledger.events(two.run_id, "metric")
    assert [detail["step"] for _, _, detail in points] == list(range(1, 7))
    assert {"memory_mb", "mfu"} <= points[0][2].keys()
    read, also = (seen(project, str(each.ref)) for each in (one, two))
    assert [each.steps for each in read] == [each.steps for each in also]


def test_bad_input_says_what_to_do(project: Project, dataset: Artifact, tmp_path: Path) -> None:
    large = project.settings.pretrain.model_copy(update={"vocabulary": 60_000})
    with pytest.raises(BadInput, match=r"Set pretrain\.vocabulary to \d+ or less"):
        pretrain(project, large, dataset=dataset)
    (tmp_path / "undercroft.toml").write_text('[project]\nname = "gone"\n')
    (tmp_path / "a.md").write_text("The one document of a dataset, which is erased later on. " * 3)
    other = Project.open(tmp_path)
    (emptied,) = curate(other, CurateSettings(max_top_ngram_ratio=1), raw=collect(other)[0])
    forget(other, read_dataset(other.lake, emptied, ["id"])["id"][0].as_py(), reason="asked for")
    with pytest.raises(BadInput, match="undercroft data show gone"):
        pretrain(other, dataset=emptied)


def test_the_command_tells_the_size_before_anything_is_made(command: Callable[..., Any]) -> None:
    small = ("--layers", "2", "--width", "32", "--vocabulary", "400", "--estimate")
    said = command("pretrain", *small, "--json")
    assert said["parameters"] == 32 * 400 + 2 * (2 * 32 * 48 + 3 * 32 * 96 + 64) + 32
    assert said["total_bytes"] == said["state_bytes"] + said["activation_bytes"]
    assert "parameters" in command("pretrain", *small)
    with pytest.raises(BadInput, match="would fit"):
        command("pretrain", "--layers", "900", "--width", "8192", "--estimate")
    with pytest.raises(BadInput, match="each of 90000 processes"):
        command("pretrain", "--processes", "90000", "--estimate")
    with pytest.raises(BadConfig, match=r"pretrain\.layers cannot be 0"):
        command("pretrain", "--layers", "0")
    with pytest.raises(NotFound):
        command("pretrain", "nothing-of-that-name", "--steps", "1")


def test_the_command_shows_the_curve_of_a_model_that_is_there(
    command: Callable[..., Any], model: Artifact
) -> None:
    said = command("pretrain")
    assert said.startswith(str(model.ref))
    assert "times through 8 documents" in said
    assert f"undercroft lineage {model.ref} --documents" in said


def test_a_curve_is_a_line_of_means() -> None:
    assert curve([]) == ""
    assert curve([2.0, 2.0]) == "▁▁"
    assert curve([3.0, 2.0, 1.0]) == "█▅▁"
    assert len(curve([float(n) for n in range(1000)])) == 48


def test_what_was_read_at_which_step_is_known_of_every_document(
    project: Project, dataset: Artifact, model: Artifact, command: Callable[..., Any]
) -> None:
    found = seen(project, str(model.ref))
    record = json.loads((project.path(model) / "training.json").read_text(encoding="utf-8"))
    assert record["reading"]["positions"][:3] == [2, 4, 6]  # samples of 2 rows, 4 rows a step
    assert all(1 <= step <= 20 for each in found for step in each.steps)
    counted = Counter(step for each in found for step in each.steps)
    assert set(counted) == set(range(1, 21))
    listed = command("lineage", str(model.ref), "--documents", "--json")
    assert [each["document"] for each in listed] == [each.document for each in found]
    first = found[0]
    assert command("lineage", str(model.ref), "--document", first.document, "--json") == [
        {
            "model": str(model.ref),
            "document": first.document,
            "times": first.times,
            "steps": list(first.steps),
        }
    ]
    assert first.document in command("lineage", str(model.ref), "--documents")
    with pytest.raises(NotFound, match="No step"):
        command("lineage", str(model.ref), "--document", "nothing")
    with pytest.raises(NotFound, match="no record"):
        command("lineage", str(dataset.ref), "--documents")


def test_it_is_fine_tuned_like_any_model_and_both_readings_are_known(
    project: Project, dataset: Artifact
) -> None:
    longer = {"context": 4096, "max_steps": 1}  # than any example
    (model,) = pretrain(
        project, project.settings.pretrain.model_copy(update=longer), dataset=dataset
    )
    made, _ = examples(project, dataset=dataset)
    params = TrainSettings(max_steps=2, batch_size=2, max_tokens=4096)
    (tuned,) = train(project, params, examples=made, base=model)
    assert tuned.meta["base"] == "random weights"
    read = seen(project, str(tuned.ref))
    assert list(dict.fromkeys(each.model for each in read)) == [str(model.ref), str(tuned.ref)]
    assert {step for each in read if each.model == str(tuned.ref) for step in each.steps} == {1, 2}


def test_pretraining_goes_on_from_a_model_with_its_shape_and_tokens(
    project: Project, dataset: Artifact, model: Artifact, command: Callable[..., Any]
) -> None:
    made = command("pretrain", "--base", str(model.ref), "--layers", "9", "--json")
    second = project.ledger.artifact(made["ref"])
    assert second.meta["parameters"] == model.meta["parameters"]
    assert second.meta["first_loss"] < model.meta["first_loss"]
    assert model.ref in project.ledger.run_of(second).inputs
    card = (project.path(second) / "README.md").read_text(encoding="utf-8")
    assert f"trained on from `{model.ref}`" in card
    held = {"base": str(model.ref), "kl_to_base": 0.5, "l2_to_base": 0.1}
    params = project.settings.pretrain.model_copy(update=held)
    (third,) = pretrain(project, params, dataset=dataset, base=model)
    points = [detail for _, _, detail in project.ledger.events(third.run_id, "metric")]
    assert points[0]["kl_to_reference"] == pytest.approx(0, abs=1e-3)
    assert points[-1]["kl_to_reference"] > 0
    with pytest.raises(BadConfig, match=r"pretrain\.l2_to_base is set"):
        pretrain(project, params.model_copy(update={"base": ""}), dataset=dataset)


def test_documents_that_are_all_one_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "undercroft.toml").write_text('[collect]\nsources = ["docs"]\n')
    (tmp_path / "docs").mkdir()
    text = "A cup holds tea, and a tool holds a nail. Whoever keeps both in one house has enough."
    for number in range(3):
        (tmp_path / "docs" / f"{number}.txt").write_text(text)
    project = Project.open(tmp_path)
    (raw,) = collect(project)
    (made,) = curate(project, raw=raw)
    with pytest.raises(BadInput, match=r"All 3 documents of .*the same text"):
        pretrain(project, dataset=made)
