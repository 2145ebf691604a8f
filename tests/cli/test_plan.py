"""``undercroft plan``: what cannot be planned for is one clear error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from undercroft.cli.main import main
from undercroft.config import changed
from undercroft.errors import BadConfig
from undercroft.settings import TrainSettings

LLAMA = {
    "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 96, "vocab_size": 100,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ([1], "kind None"),
        ({**LLAMA, "num_attention_heads": 0}, "no size above 0"),
        ({**LLAMA, "hidden_size": -64}, "no size above 0"),
        ({**LLAMA, "vocab_size": "many"}, "no size above 0"),
        ({"model_type": "llama"}, "no 'num_attention_heads'"),
    ],
)
def test_a_configuration_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: Any, why: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SystemExit) as ended:
        main(["plan", str(tmp_path)])
    assert ended.value.code == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--memory", "--tflops"])
@pytest.mark.parametrize("value", ["nan", "inf", "0", "-1"])
def test_a_number_that_is_no_amount_is_refused(
    capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plan", "1B", option, value])
    assert ended.value.code == 2
    assert f"{option}': {value} is not a number above 0" in capsys.readouterr().err


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_no_setting_is_endless(value: float) -> None:
    with pytest.raises(BadConfig, match=r"train\.minutes cannot be"):
        changed("train", TrainSettings(), {"minutes": value})


def test_a_setting_that_does_not_fit_points_to_what_explains_it() -> None:
    with pytest.raises(BadConfig) as ended:
        changed("train", TrainSettings(), {"minutes": -1})
    assert ended.value.do == "See: undercroft init --print"
    with pytest.raises(BadConfig) as ended:
        changed("train", TrainSettings(), {"minutes": -1}, "align")
    assert ended.value.do == "See: undercroft align --help"
