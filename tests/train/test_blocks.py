"""Blocks by hand against the library's, number for number."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from undercroft.train.models import blocks, lora
from undercroft.train.models.attention import Layout, by_document, side_by_side
from undercroft.train.models.blocks import by_hand

LENGTHS = [5, 5, 9, 1]


def llama(dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(dtype).train()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    return model


def passed(model: Any, *, hand: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """What the model makes of four documents, and the gradient of some sum of it."""
    model.zero_grad()
    tokens = torch.arange(sum(LENGTHS)) * 7 % 40
    positions = torch.cat([torch.arange(length) for length in LENGTHS])
    with by_document(model), by_hand(model) if hand else nullcontext():
        hidden = model.model(
            input_ids=tokens[None], position_ids=positions[None], use_cache=False,
            layout=Layout(side_by_side(LENGTHS)),
        ).last_hidden_state  # fmt: skip
    worth = torch.linspace(-1, 2, hidden.numel()).view(hidden.shape).to(hidden.dtype)
    (hidden * worth).sum().backward()
    grads = {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}
    return hidden.detach(), grads


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.float() - wanted).norm() / wanted.norm())


def adapted(model: Any, targets: tuple[str, ...]) -> Any:
    lora.adapt(model, lora.Lora(2, 8.0, targets), seed=1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("lora_B.weight"):
                weight.copy_(torch.linspace(-0.1, 0.1, weight.numel()).view(weight.shape))
    return model


@pytest.mark.parametrize("targets", [None, (), ("k_proj", "down_proj")])
def test_they_compute_what_the_library_computes_and_so_are_their_gradients(
    targets: tuple[str, ...] | None,
) -> None:
    model = llama() if targets is None else adapted(llama(), targets)
    assert all(map(blocks._is_known, model.model.layers))
    ours, own = passed(model, hand=True)
    theirs, others = passed(model, hand=False)
    assert error(ours, theirs) < 1e-5
    assert own.keys() == others.keys()
    assert all(error(own[name], others[name]) < 1e-5 for name in own)


def test_in_bf16_they_are_at_least_as_near_to_the_truth() -> None:
    truth, true_grads = passed(llama(), hand=False)
    model = llama(torch.bfloat16)
    (ours, own), (theirs, others) = (passed(model, hand=hand) for hand in (True, False))
    assert error(ours, truth) < 1.1 * error(theirs, truth)
    for name, wanted in true_grads.items():
        assert error(own[name], wanted) < 1.3 * error(others[name], wanted), name


def test_frozen_weights_get_no_gradient_and_without_adapters_it_is_the_base() -> None:
    plain, _ = passed(llama(), hand=False)
    model = adapted(llama(), ())
    _, grads = passed(model, hand=True)
    assert all(".lora_" in name for name in grads)
    with lora.adapters_off(model), by_document(model), by_hand(model):
        base = model.model(
            input_ids=(torch.arange(20) * 7 % 40)[None], use_cache=False,
            position_ids=torch.cat([torch.arange(length) for length in LENGTHS])[None],
            layout=Layout(side_by_side(LENGTHS)),
        ).last_hidden_state  # fmt: skip
    assert error(base, plain) < 1e-5


def test_a_block_that_is_watched_or_of_another_make_runs_as_it_is() -> None:
    model = llama()
    first, second = model.model.layers
    seen: list[tuple[int, ...]] = []
    first.mlp.register_forward_hook(lambda module, given, out: seen.append(tuple(out.shape)))
    second.self_attn.q_proj = torch.nn.Linear(32, 32, bias=True)
    assert not any(map(blocks._is_known, model.model.layers))
    passed(model, hand=True)
    assert seen == [(1, 20, 32)]


def test_hooks_on_a_whole_block_are_called_and_nothing_stays_changed() -> None:
    model = llama()
    seen: list[tuple[int, ...]] = []
    model.model.layers[0].register_forward_hook(
        lambda module, given, out: seen.append(tuple(out.shape))
    )
    assert blocks._is_known(model.model.layers[0])
    passed(model, hand=True)
    assert seen == [(1, 20, 32)]
    assert not any("forward" in vars(each) for each in model.modules())
