"""A model from random weights: its size is known before it is made."""

from __future__ import annotations

import gc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train.test_next_token import corpus
from undercroft.errors import BadConfig, BadInput
from undercroft.settings import PretrainSettings
from undercroft.train.models.scratch import Shape, build, check_memory, estimate
from undercroft.train.objectives.next_token import NextToken
from undercroft.train.optimizer import MasterAdamW
from undercroft.train.pretrain import foresee
from undercroft.train.samples.packing import pack

SMALL = Shape(layers=2, width=32, heads=4, kv_heads=2, vocabulary=300, context=64)


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.sampled_from([(1, 1), (4, 2), (6, 3), (4, 4)]))
def test_the_parameters_are_known_before_the_model_is_made(
    layers: int, times: int, heads: tuple[int, int]
) -> None:
    shape = Shape(layers, 2 * heads[0] * times, *heads, vocabulary=270, context=32)
    model = build(shape, "fp32", 0, {})
    assert shape.parameters == sum(weight.numel() for weight in model.parameters())


def test_the_same_seed_gives_the_same_model_whatever_was_drawn_before() -> None:
    first = build(SMALL, "bf16", 7, {})
    torch.rand(3)
    again, other = build(SMALL, "bf16", 7, {}), build(SMALL, "bf16", 8, {})
    weights = zip(first.parameters(), again.parameters(), other.parameters(), strict=True)
    for mine, same, different in weights:
        assert torch.equal(mine, same)
        assert mine.ndim == 1 or not torch.equal(mine, different)
    assert first.model.embed_tokens.weight is first.lm_head.weight
    assert not any(tensor.is_meta for tensor in (*first.parameters(), *first.buffers()))


def test_a_new_model_guesses_evenly() -> None:
    model = build(SMALL, "fp32", 0, {})
    goal = NextToken()
    terms = goal.terms(model, goal.collate(pack(corpus([40, 90, 33], 300), 64, 8, 0)[0]))
    loss = float(terms.loss_sum.detach()) / terms.count
    assert loss == pytest.approx(torch.log(torch.tensor(300.0)).item(), abs=0.1)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_the_estimate_covers_what_training_holds(precision: str) -> None:
    """Tensors alive between forward and backward pass, and after the step, by their own size."""
    shape = Shape(layers=3, width=64, heads=4, kv_heads=2, vocabulary=500, context=128)
    wanted = estimate(shape, precision, 4)
    model = build(shape, precision, 0, {})
    optimizer = MasterAdamW(model, 0.1)
    goal = NextToken()
    batch = goal.collate(pack(corpus([100] * 8, 500), 128, 4, 0)[0])
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {each.untyped_storage().data_ptr() for each in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = goal.terms(model, batch).loss_sum
    kept = sum(size for pointer, size in saved.items() if pointer not in weights)
    assert kept <= wanted.activation_bytes <= 4 * kept
    loss.backward()
    optimizer.gather(1.0)
    optimizer.step(1e-3)
    state = 2 * sum(tensor.nbytes for tensor, _ in optimizer.state().values())  # and a checkpoint's
    state += sum(weight.nbytes for weight in model.parameters())
    assert state <= wanted.state_bytes <= 2 * state
    gc.collect()


def test_a_model_that_does_not_fit_says_what_would() -> None:
    large = Shape(layers=24, width=1024, heads=16, kv_heads=4, vocabulary=32_000, context=1024)
    with pytest.raises(
        BadInput, match=r"This would fit: pretrain\.micro_batch_size = [1248]\."
    ) as e:
        check_memory(large, "bf16", 16, 20 * 10**9)
    assert "GB are free" in str(e.value)
    with pytest.raises(BadInput, match=r"pretrain\.layers = 12, pretrain\.width = \d+") as e:
        check_memory(large, "bf16", 16, 2 * 10**9)
    rows, layers, width = (int(part.split("= ")[1].rstrip(".")) for part in e.value.do.split(","))
    fitting = Shape(layers, width, 16, 4, 32_000, 1024)
    assert estimate(fitting, "bf16", rows).total_bytes <= 2 * 10**9
    with pytest.raises(BadInput, match="Not even the smallest"):
        check_memory(large, "bf16", 16, 10**6)
    assert check_memory(SMALL, "bf16", 2, 10**9).parameters == SMALL.parameters


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"width": 250}, r"multiple of 8, such as 248"), ({"kv_heads": 3}, "divisor")],
)
def test_a_shape_that_is_none_says_what_to_change(changed: dict[str, int], said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        foresee(PretrainSettings(**changed))


def test_a_model_as_large_as_no_machine_is_refused_before_anything_is_read() -> None:
    huge = PretrainSettings(layers=200, width=16384, heads=128, kv_heads=8, vocabulary=128_000)
    with pytest.raises(BadInput, match="free"):
        foresee(huge)
