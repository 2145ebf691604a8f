from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path

import pytest
from click.testing import CliRunner

from undercroft.cli.main import group
from undercroft.compress.stage import compress
from undercroft.errors import BadConfig, BadInput
from undercroft.ledger import MadeArtifact
from undercroft.project import Project
from undercroft.records import Artifact, Footprint
from undercroft.settings import CompressSettings


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.open(tmp_path, {"project.name": "docs"})


def put_model(project: Project, folder: Path) -> Artifact:
    run = project.ledger.begin_run("train", uuid.uuid4().hex, {}, [])
    uri, digest, size = project.lake.blobs.put(folder, "model", "docs")
    made = MadeArtifact("model", "docs", digest, uri, size, {"licence": "apache-2.0", "steps": 3})
    return project.ledger.finish_run(run.id, [made], Footprint())[0]


def test_each_format_becomes_a_model_that_says_where_it_came_from(
    project: Project, tiny_folder: Path
) -> None:
    model = put_model(project, tiny_folder)
    eight, four = compress(project, CompressSettings(), model=model)
    assert [str(eight.ref), str(four.ref)] == ["model:docs-q8_0@1", "model:docs-q4_1@1"]
    assert eight.meta["format"] == "q8_0"
    assert eight.meta["source"] == "model:docs@1"
    assert eight.meta["licence"] == "apache-2.0"
    assert "steps" not in eight.meta
    assert project.path(four).suffix == ".gguf"
    assert project.path(four).read_bytes()[:4] == b"GGUF"
    assert four.size_bytes == four.meta["size_bytes"] < eight.size_bytes
    assert compress(project, CompressSettings(), model=model) == (eight, four)


def test_the_served_format_has_to_be_made(project: Project, tiny_folder: Path) -> None:
    model = put_model(project, tiny_folder)
    with pytest.raises(BadConfig, match=r"serve is 'q4_1'.*Formats made are q8_0"):
        compress(project, CompressSettings(formats=["q8_0"], serve="q4_1"), model=model)


def test_a_model_that_cannot_be_exported_fails_the_run_with_its_reason(
    project: Project, tiny_folder: Path
) -> None:
    (tiny_folder / "model.safetensors").unlink()
    model = put_model(project, tiny_folder)
    with pytest.raises(BadInput, match="no safetensors weights"):
        compress(project, CompressSettings(), model=model)
    (run,) = project.ledger.runs(stage="compress")
    assert run.status == "failed"


def test_adapters_become_a_model_of_their_own_by_command(
    project: Project, tiny_model: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from undercroft.train.models import lora

    put_model(project, Path(shutil.copytree(tiny_model, tmp_path / "whole")))
    words = ["-C", str(project.root), "compress", "model:docs", "--adapter", "--json"]
    refused = CliRunner().invoke(group, words)
    assert isinstance(refused.exception, BadInput)
    assert "trained whole" in refused.exception.why
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    shape = lora.Lora(rank=2, alpha=4.0, targets=("q_proj",))
    lora.adapt(model, shape, 0)
    adapted = Path(shutil.copytree(tiny_model, tmp_path / "adapted"))
    lora.save_adapters(model, shape, adapted / "adapter", "tiny")
    put_model(project, adapted)
    done = CliRunner().invoke(group, words)
    assert done.exit_code == 0, done.output
    (made,) = json.loads(done.stdout)
    assert made["ref"] == "adapter:docs@1"
    assert made["meta"]["fits"] == "tiny"
    assert made["meta"]["source"] == "model:docs@2"
