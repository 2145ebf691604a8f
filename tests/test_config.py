"""Settings: layers, where each value came from, and errors that help."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from undercroft import config
from undercroft.cli.project import commented_settings
from undercroft.errors import BadConfig


def write(folder: Path, text: str) -> Path:
    (folder / config.FILE_NAME).write_text(text)
    return folder


def test_a_folder_without_a_file_has_defaults_and_its_own_name(tmp_path: Path) -> None:
    folder = tmp_path / "My Handbook"
    folder.mkdir()
    loaded = config.load(folder)
    assert loaded.settings.project.name == "my-handbook"
    assert loaded.where("project.name") == "folder name"
    assert loaded.where("train.minutes") == "default"


def test_later_layers_win_and_every_value_says_where_it_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "[train]\nminutes = 5\nseed = 1\nbatch_size = 2\n")
    monkeypatch.setenv("UNDERCROFT_TRAIN__MINUTES", "7")
    monkeypatch.setenv("UNDERCROFT_PROJECT__TITLE", "not toml")
    loaded = config.load(tmp_path, {"train.seed": 9})
    train = loaded.settings.train
    assert (train.minutes, train.seed, train.batch_size) == (7, 9, 2)
    assert loaded.settings.project.title == "not toml"
    assert loaded.where("train.minutes") == "environment"
    assert loaded.where("train.seed") == "command line"
    assert loaded.where("train.batch_size").endswith("undercroft.toml")


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("[train]\nminuts = 5\n", "[train] has no key 'minuts'", "'minutes'"),
        ("[trian]\nminutes = 5\n", "no section [trian]", "[train]"),
        ("minutes = 5\n", "'minutes' stands outside a section", "[train]"),
        ("[train\n", "not valid TOML", "Mend that line"),
        ("[train]\nminutes = -1\n", "train.minutes = -1 cannot be used", "greater than 0"),
        ("[train]\nminutes = 'long'\n", "train.minutes = 'long'", "number"),
        ("[project]\nname = 'Has Spaces'\n", "project.name = 'Has Spaces'", "pattern"),
    ],
)
def test_a_wrong_file_is_one_clear_error_with_the_nearest_name(
    tmp_path: Path, text: str, what: str, hint: str
) -> None:
    with pytest.raises(BadConfig) as caught:
        config.load(write(tmp_path, text))
    assert what in str(caught.value)
    assert hint in str(caught.value)


def test_the_commented_file_is_valid_and_every_line_in_it_is_the_default(tmp_path: Path) -> None:
    text = commented_settings("docs")
    defaults = config.load(write(tmp_path, text)).settings
    uncommented = "\n".join(
        line.removeprefix("# ") if " = " in line and line.startswith("# ") else line
        for line in text.splitlines()
    )
    tomllib.loads(uncommented)
    assert config.load(write(tmp_path, uncommented)).settings == defaults
