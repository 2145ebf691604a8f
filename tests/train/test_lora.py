"""Adapters: as PEFT computes, writes and reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.train.test_loop import ignore, settings, start
from undercroft.errors import BadConfig, BadInput, Cancelled
from undercroft.records import Example
from undercroft.train.loop import Point
from undercroft.train.models import folders, lora
from undercroft.train.objectives.sft import SupervisedFineTuning
from undercroft.train.schedule import Schedule

SHAPE = lora.Lora(rank=4, alpha=8)
TOKENS = torch.tensor([[5, 17, 80, 33, 9, 120, 7]])


def adapted(tiny: Path, shape: lora.Lora = SHAPE, precision: str = "fp32") -> torch.nn.Module:
    """A model whose adapters do something, which new ones do not."""
    model, _ = folders.load(tiny, precision)
    lora.adapt(model, shape, seed=3)
    torch.manual_seed(5)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return model


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=TOKENS).logits.float()


def read_by_peft(tiny: Path, folder: Path, *, trained: bool = False) -> torch.nn.Module:
    peft = pytest.importorskip("peft")
    base, _ = folders.load(tiny, "fp32")
    return peft.PeftModel.from_pretrained(base, folder, is_trainable=trained)


def test_new_adapters_change_nothing_and_are_all_that_is_trained(tiny: Path) -> None:
    model, _ = folders.load(tiny, "fp32")
    before = logits(model)
    lora.adapt(model, SHAPE, seed=3)
    assert torch.equal(logits(model), before)
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert len(trained) == 2 * 7 * 2  # A and B of seven layers in two blocks
    assert all("lora_" in name for name in trained)


def test_peft_reads_what_we_write_and_computes_the_same(tiny: Path, tmp_path: Path) -> None:
    model = adapted(tiny)
    lora.save_adapters(model, SHAPE, tmp_path, str(tiny))
    assert (logits(model) - logits(folders.load(tiny, "fp32")[0])).abs().max() > 0.01
    assert torch.allclose(logits(read_by_peft(tiny, tmp_path)), logits(model), atol=1e-5)


def test_we_read_what_peft_writes(tiny: Path, tmp_path: Path) -> None:
    lora.save_adapters(adapted(tiny), SHAPE, tmp_path / "ours", str(tiny))
    theirs = read_by_peft(tiny, tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    model, _ = folders.load(tiny, "fp32")
    assert lora.load_adapters(model, tmp_path / "theirs").rank == 4
    assert torch.allclose(logits(model), logits(theirs), atol=1e-5)


def test_gradients_are_those_of_peft(tiny: Path, tmp_path: Path) -> None:
    model = adapted(tiny)
    lora.save_adapters(model, SHAPE, tmp_path, str(tiny))
    theirs = read_by_peft(tiny, tmp_path, trained=True)
    for each in (model, theirs):
        each(input_ids=TOKENS, labels=TOKENS).loss.backward()
    peers = {
        name.removeprefix("base_model.model.").replace(".default", ""): weight.grad
        for name, weight in theirs.named_parameters()
        if weight.requires_grad
    }
    ours = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
    assert ours.keys() == peers.keys()
    assert all(torch.allclose(ours[name], peers[name], atol=1e-6) for name in ours)
    assert max(float(grad.abs().max()) for grad in ours.values()) > 1e-4


def test_a_merged_model_computes_the_same_and_is_like_any_other(tiny: Path, tmp_path: Path) -> None:
    model = adapted(tiny)
    before = logits(model)
    lora.merge(model)
    assert torch.allclose(logits(model), before, atol=1e-5)
    plain, tokenizer = folders.load(tiny, "fp32")
    assert model.state_dict().keys() == plain.state_dict().keys()
    folders.save(model, tokenizer, tmp_path)
    again, _ = folders.load(tmp_path, "fp32")
    assert torch.allclose(logits(again), before, atol=0.02)  # it is saved in bf16


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_with_adapters_off_it_is_its_base(tiny: Path, precision: str) -> None:
    model = adapted(tiny, lora.Lora(4, 8, dropout=0.5), precision).train()
    base, _ = folders.load(tiny, precision)
    with lora.adapters_off(model):
        off = model(input_ids=TOKENS).logits.float()
    assert torch.equal(off, logits(base))
    assert model.training
    assert not torch.equal(logits(model), off)


def test_layers_can_be_chosen_and_one_that_is_not_there_is_refused(tiny: Path) -> None:
    model = adapted(tiny, lora.Lora(2, 4, targets=("q_proj", "v_proj")))
    names = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert len(names) == 2 * 2 * 2
    assert not any("mlp" in name for name in names)
    with pytest.raises(BadConfig, match="up_proj"):
        lora.adapt(folders.load(tiny, "fp32")[0], lora.Lora(2, 4, targets=("query",)), seed=0)


@pytest.mark.parametrize("harm", ["nothing", "other sizes", "no JSON"])
def test_adapters_that_do_not_fit_are_refused(tiny: Path, tmp_path: Path, harm: str) -> None:
    if harm != "nothing":
        lora.save_adapters(adapted(tiny), SHAPE, tmp_path, str(tiny))
        path = tmp_path / "adapter_config.json"
        config = json.loads(path.read_text()) | {"r": 2}
        path.write_text("{" if harm == "no JSON" else json.dumps(config))
    with pytest.raises(BadInput):
        lora.load_adapters(folders.load(tiny, "fp32")[0], tmp_path)


def test_a_stopped_run_with_adapters_resumes_with_the_same_weights(
    tiny: Path, examples: list[Example], tmp_path: Path
) -> None:
    params = settings(lora_rank=4, lora_dropout=0.2, precision="bf16")

    def begin(name: str) -> object:
        model, tokenizer = folders.load(tiny, params.precision)
        shape = lora.Lora.of(params)
        assert shape is not None
        lora.adapt(model, shape, params.seed)
        goal = SupervisedFineTuning(tokenizer, "tools", params.max_tokens)
        return start(tiny, examples, tmp_path / name, params, model=model, objective=goal)

    def stop(point: Point, schedule: Schedule) -> None:
        if point.step > 3:
            raise Cancelled("stop")

    straight = begin("straight")
    straight.train(ignore)
    with pytest.raises(Cancelled):
        begin("stopped").train(stop)
    resumed = begin("stopped")
    assert 0 < resumed.schedule.step < params.max_steps
    resumed.train(ignore)
    assert resumed.tally.losses == straight.tally.losses
    ours, theirs = resumed.model.state_dict(), straight.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert straight.tally.losses[-1] < straight.tally.losses[0]
