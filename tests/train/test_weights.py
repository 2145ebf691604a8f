"""A model whose files are damaged, missing or another's is refused in plain words, and never made
up in part."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from undercroft.errors import BadInput
from undercroft.train.models import folders

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def cut_short(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:5000])


def without_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def of_another_shape(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))


def without_a_tensor(folder: Path) -> None:
    found = load_file(folder / WEIGHTS)
    del found["model.layers.0.mlp.up_proj.weight"]
    save_file(found, folder / WEIGHTS, metadata={"format": "pt"})


def without_a_shard(folder: Path) -> None:
    found = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = sorted(found)
    files = {name: f"model-0000{1 + at % 2}-of-00002.safetensors" for at, name in enumerate(names)}
    kept = {name: found[name] for name in names if "00001" in files[name]}
    save_file(kept, folder / "model-00001-of-00002.safetensors", metadata={"format": "pt"})
    index = json.dumps({"weight_map": files})
    (folder / "model.safetensors.index.json").write_text(index)


def without_configuration(folder: Path) -> None:
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize("load", [folders.load, folders.load_scorer])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut_short, r"model\.safetensors is damaged\. .*not fully covered"),
        (without_weights, r"does not hold the whole model\. There is no file of weights"),
        (without_a_shard, r"whole model\. model-00002-of-00002\.safetensors is missing"),
        (without_a_tensor, r"whole model\. model\.layers\.0\.mlp\.up_proj\.weight is in no file"),
        (of_another_shape, r"does not have the shape .* and 5 other weights"),
        (without_configuration, r"cannot be read"),
    ],
)
def test_what_is_wrong_with_the_files_is_said(
    folder: Path, load: Callable[[Path, str], object], spoil: Callable[[Path], None], said: str
) -> None:
    spoil(folder)
    with pytest.raises(BadInput, match=said) as error:
        load(folder, "fp32")
    assert error.value.do == "Bring the model in again, or name another as model.base."


def test_a_base_with_a_missing_tensor_is_not_brought_in(folder: Path, tmp_path: Path) -> None:
    without_a_tensor(folder)
    with pytest.raises(BadInput, match="is in no file"):
        folders.fetch_base(str(folder), tmp_path, tmp_path / "out", lambda done, total: None)


def test_a_head_that_scores_may_be_new(folder: Path) -> None:
    model, _ = folders.load_scorer(folder, "fp32")
    assert model.score.weight.shape == (1, 32)
