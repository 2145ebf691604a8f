"""The planner: sizes are exact, what does not fit is refused, and what is chosen is explained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from undercroft.cli.plan import plan as command
from undercroft.errors import BadConfig, BadInput, NotFound
from undercroft.train.models.anatomy import SIZES, Anatomy, anatomy
from undercroft.train.models.memory import Load, estimate
from undercroft.train.parallel.plan import Plan
from undercroft.train.planning import Machine, Wanted, advise

GB = 10**9


def built(size: Anatomy, kind: str = "llama") -> Any:
    """A model of that size without memory."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        kind,
        hidden_size=size.width,
        intermediate_size=size.feed_forward,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        head_dim=size.head_dim,
        vocab_size=size.vocabulary,
        tie_word_embeddings=size.is_tied,
    )
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("name", ["1B", "8B", "70B"])
def test_parameters_are_those_of_a_model_that_is_built(name: str) -> None:
    model = built(SIZES[name])
    assert SIZES[name].parameters == sum(weight.numel() for weight in model.parameters())
    assert Anatomy.of(model.config.to_dict()) == SIZES[name]


@pytest.mark.parametrize("kind", ["mistral", "qwen2", "qwen3"])
def test_other_models_of_that_build_are_counted_too(kind: str) -> None:
    model = built(Anatomy(2, 64, 4, 2, 16, 96, 300, is_tied=False), kind)
    found = Anatomy.of(model.config.to_dict())
    assert found.parameters == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize(
    ("name", "devices", "batch"), [("1B", 8, 64), ("8B", 8, 64), ("70B", 64, 512)]
)
def test_what_is_chosen_fits_uses_all_devices_and_is_about_as_fast_as_anything(
    name: str, devices: int, batch: int
) -> None:
    advice = advise(Wanted(anatomy(name), 8192, batch), Machine(devices, 80 * GB))
    assert advice.chosen.plan.size == devices
    assert advice.chosen.memory.total_bytes < 80 * GB
    assert advice.others
    for other, why in advice.others:
        fits = other.memory.total_bytes <= 72 * GB
        assert why.startswith("fits" if fits else "does not fit")
        assert not fits or advice.chosen.step_s <= 1.1 * other.step_s


def test_one_copy_for_each_device_is_taken_where_it_fits() -> None:
    advice = advise(Wanted(anatomy("1B"), 4096, 64), Machine(8, 80 * GB))
    assert advice.chosen.plan == Plan(replicate=8)


def test_what_cannot_fit_is_refused_with_what_would() -> None:
    with pytest.raises(BadInput, match="70,553,706,496 parameters cannot") as refused:
        advise(Wanted(anatomy("70B"), 8192, 64), Machine(8, 80 * GB))
    devices = int(refused.value.do.removeprefix("These would do: ").split()[0])
    assert advise(Wanted(anatomy("70B"), 8192, devices), Machine(devices, 80 * GB))
    with pytest.raises(BadInput, match="more memory"):
        advise(Wanted(anatomy("405B"), 128, 8), Machine(1, GB // 100))
    with pytest.raises(BadInput, match="cannot share 4 sequences"):
        advise(Wanted(anatomy("1B"), 128, 4), Machine(4099, 80 * GB))


def test_each_kind_of_rank_takes_from_what_a_process_holds() -> None:
    size, load = anatomy("8B"), Load(4096, 1, micro_batches=8)
    whole = estimate(size, load)
    assert whole.masters == 4 * size.parameters
    for plan in (Plan(shard=8), Plan(tensor=8), Plan(pipeline=8)):
        part = estimate(size, load, plan)
        assert part.parameters == size.parameters
        assert part.masters < whole.masters / 3
        assert part.total_bytes < whole.total_bytes
    assert estimate(size, load, Plan(replicate=8)) == whole
    again = estimate(size, Load(4096, 1, recomputes=True))
    assert again.activations < whole.activations / 5
    gpipe = estimate(size, Load(4096, 1, 8, schedule="gpipe"), Plan(pipeline=2))
    assert gpipe.activations > 2 * estimate(size, load, Plan(pipeline=2)).activations


def test_the_command_says_the_plan_the_memory_and_what_else_there_was() -> None:
    arguments = ["8B", "--devices", "8", "--memory", "80", "--context", "8192"]
    told = CliRunner().invoke(command, arguments).output
    for part in ("8,030,261,248 parameters", "moments", "processes = 8", "Considered:"):
        assert part in told
    found = json.loads(CliRunner().invoke(command, [*arguments, "--json"]).output)
    assert found["settings"]["processes"] == 8
    assert found["memory"]["total_bytes"] < 80 * GB
    assert all(each["why_not"] for each in found["considered"])


def test_a_model_that_is_none_and_a_format_that_no_processor_has_are_refused(
    tmp_path: Path,
) -> None:
    with pytest.raises(NotFound, match="no model '9B'"):
        anatomy("9B")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(BadInput, match="'gpt2' is not known"):
        anatomy(str(tmp_path))
    result = CliRunner().invoke(command, ["1B", "--memory", "80", "--precision", "fp8"])
    assert isinstance(result.exception, BadConfig)
    assert "Hopper" in str(result.exception)
