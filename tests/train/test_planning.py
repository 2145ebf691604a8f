"""The planner: sizes are exact, what does not fit is refused, and what is chosen is explained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from undercroft.cli.plan import plan as command
from undercroft.errors import BadInput, NotFound
from undercroft.settings import PretrainSettings
from undercroft.train import room
from undercroft.train.models import scratch
from undercroft.train.models.anatomy import SIZES, Anatomy, anatomy
from undercroft.train.models.memory import Load, estimate
from undercroft.train.optimizer import MasterAdamW
from undercroft.train.parallel.plan import Plan
from undercroft.train.planning import Machine, Wanted, advise
from undercroft.train.pretrain import foresee

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


@pytest.mark.parametrize("optimizer", ["adamw", "muon", ""])
def test_moments_are_those_that_the_optimizer_keeps(optimizer: str) -> None:
    shape = scratch.Shape(2, 32, 4, 2, 100, 32)
    model = scratch.build(shape, "fp32", 1, {})
    stepper = MasterAdamW(model, 0.0, optimizer=optimizer)
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    stepper.gather(1.0)
    stepper.step(1e-3)
    names = ("exp_avg.", "exp_avg_sq.", "momentum_buffer.")
    kept = [each for name, (each, _) in stepper.state().items() if name.startswith(names)]
    expected = scratch.estimate(shape, "fp32", 1, optimizer=optimizer)
    assert sum(each.nbytes for each in kept) == expected.moments
    assert expected.checkpoint == expected.moments + expected.masters


def test_matrices_that_are_spread_are_counted_as_adamw_steps_them() -> None:
    size = anatomy("1B")
    for plan in (Plan(shard=2), Plan(tensor=2)):
        assert estimate(size, Load(512, 1, optimizer=""), plan) == estimate(
            size, Load(512, 1), plan
        )


@pytest.mark.parametrize(
    ("has_bf16", "precision", "said"), [(True, "bf16", "range of fp32"), (False, "fp16", "scaled")]
)
def test_the_number_format_is_chosen_by_what_devices_compute_in(
    has_bf16: bool, precision: str, said: str
) -> None:
    wanted = Wanted(anatomy("1B"), 2048, 16, precision="auto")
    advice = advise(wanted, Machine(2, 80 * GB, has_bf16=has_bf16))
    assert advice.precision == advice.chosen.load.precision == precision
    assert said in advice.reasons[-1]


def test_memory_of_a_device_is_what_counts_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert room.free_for("auto") == (pytest.approx(room.free_memory(), rel=0.2), False)
    monkeypatch.setattr(room, "_may_have_devices", lambda: True)
    monkeypatch.setattr(room, "_of_device", lambda device: 80 * GB)
    assert room.free_for("auto") == (80 * GB, True)
    assert not room.free_for("cpu")[1]
    large = PretrainSettings(layers=40, width=4096, heads=32, kv_heads=8, vocabulary=32_000)
    assert foresee(large.model_copy(update={"layers": 8})).total_bytes < 80 * GB
    with pytest.raises(BadInput, match=r"80\.0 GB are free"):
        foresee(large)


def test_the_command_says_the_plan_the_memory_and_what_else_there_was() -> None:
    arguments = ["8B", "--devices", "8", "--memory", "80", "--context", "8192"]
    told = CliRunner().invoke(command, arguments).output
    for part in ("8,030,261,248 parameters", "moments", "processes = 8", "Considered:"):
        assert part in told
    found = json.loads(CliRunner().invoke(command, [*arguments, "--json"]).output)
    assert found["settings"]["processes"] == 8
    assert found["memory"]["total_bytes"] < 80 * GB
    assert all(each["why_not"] for each in found["considered"])


def test_a_model_that_is_none_is_refused(
    tmp_path: Path,
) -> None:
    with pytest.raises(NotFound, match="no model '9B'"):
        anatomy("9B")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(BadInput, match="'gpt2' is not known"):
        anatomy(str(tmp_path))


def test_products_in_8_bits_name_the_devices_that_have_them() -> None:
    result = CliRunner().invoke(command, ["1B", "--memory", "80", "--precision", "fp8"])
    assert "Hopper" in result.output
