"""Adapters on weights in 4 bits."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tests.train.test_loop import ignore, settings
from undercroft.errors import BadInput
from undercroft.records import Example
from undercroft.train.loop import Run
from undercroft.train.models import folders, lora, quantised
from undercroft.train.objectives.sft import SupervisedFineTuning

logging.getLogger("bitsandbytes").setLevel(logging.CRITICAL)
pytest.importorskip("bitsandbytes")

SHAPE = lora.Lora(rank=4, alpha=8)
TOKENS = torch.tensor([[5, 17, 80, 33, 9, 120, 7]])


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=TOKENS).logits.float()


def test_a_weight_is_held_in_about_four_bits_and_is_near_what_it_was() -> None:
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(256, 512, generator=draw)
    layer = quantised.FourBitLinear(weight, None)
    error = (layer.weight - weight).square().mean().sqrt()
    assert float(error) < 0.1  # of a standard deviation; the paper's figure is 0.09
    assert 8 * layer.num_bytes / weight.numel() < 4.2
    assert not layer.state_dict()


def test_the_gradient_is_that_of_a_layer_with_the_same_weights() -> None:
    draw = torch.Generator().manual_seed(0)
    layer = quantised.FourBitLinear(torch.randn(64, 64, generator=draw), torch.ones(64))
    x, y = (torch.randn(3, 64, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    layer(x.requires_grad_()).square().sum().backward()
    layer.whole()(y.requires_grad_()).square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


def test_only_the_frozen_layers_are_packed_and_all_else_is_as_it_was(tiny: Path) -> None:
    model, _ = quantised.load(tiny, "fp32", 512)
    plain, _ = folders.load(tiny, "fp32")
    packed = [n for n, each in model.named_modules() if isinstance(each, quantised.FourBitLinear)]
    assert len(packed) == 2 * 7
    assert torch.equal(model.lm_head.weight, plain.lm_head.weight)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    known = dict(plain.named_parameters())
    assert all(torch.equal(weight, known[name]) for name, weight in model.named_parameters())
    apart = (logits(model) - logits(plain)).std()
    assert 0 < apart < 0.2 * logits(plain).std()


def test_peft_reads_adapters_that_were_trained_on_four_bits(
    tiny: Path, tmp_path: Path, examples: list[Example]
) -> None:
    peft = pytest.importorskip("peft")
    model, tokenizer = quantised.load(tiny, "fp32", 4096)
    lora.adapt(model, SHAPE, seed=3)
    goal = SupervisedFineTuning(tokenizer, "tools", 4096)
    params = settings(max_steps=6, batch_size=2)
    run = Run(
        model, goal, [(each,) for each in examples], params, folder=tmp_path / "checkpoints",
        config_digest="c", event=lambda kind, detail: None,
    )  # fmt: skip
    losses = run.train(ignore).losses
    assert losses[-1] < losses[0]
    lora.save_adapters(model, SHAPE, tmp_path / "adapter", str(tiny))
    trained = logits(model)
    lora.merge(model)
    torch.testing.assert_close(logits(model), trained, atol=1e-5, rtol=1e-5)
    base, _ = quantised.load(tiny, "fp32", 4096)
    for name, layer in list(base.named_modules()):
        if isinstance(layer, quantised.FourBitLinear):
            parent, _, child = name.rpartition(".")
            setattr(base.get_submodule(parent), child, layer.whole())
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    torch.testing.assert_close(logits(theirs), trained, atol=1e-5, rtol=1e-5)


def test_a_folder_without_all_weights_is_refused(tiny: Path, tmp_path: Path) -> None:
    for file in tiny.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tiny / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(BadInput, match="does not hold the whole model"):
        quantised.load(tmp_path, "fp32", 512)
