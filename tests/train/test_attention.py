"""Attention by document against a whole mask, and losses against whole logits."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from undercroft.errors import BadInput
from undercroft.train.models import attention
from undercroft.train.models.attention import NO_PARENT, Layout, attend, side_by_side
from undercroft.train.objectives import token_loss
from undercroft.train.objectives.branches import pack

TREE = [(0, 5, NO_PARENT), (5, 8, 0), (8, 11, 0), (11, 12, 2), (12, 14, NO_PARENT)]


def seen_by(nodes: list[tuple[int, int, int]]) -> torch.Tensor:
    """Where each token may look, written down one by one."""
    size = nodes[-1][1]
    may = torch.zeros(size, size, dtype=torch.bool)
    for start, end, parent in nodes:
        for token in range(start, end):
            may[token, start : token + 1] = True
            above = parent
            while above != NO_PARENT:
                first, last, above = nodes[above]
                may[token, first:last] = True
    return may


def masked(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, may: torch.Tensor) -> torch.Tensor:
    groups = q.shape[0] // k.shape[0]
    k, v = k.repeat_interleave(groups, 0), v.repeat_interleave(groups, 0)
    scores = (q @ k.transpose(1, 2) / 2).masked_fill(~may, -torch.inf)
    return (scores.softmax(-1) @ v).transpose(0, 1)


def drawn(size: int) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(size)
    shapes = [(4, size, 8), (2, size, 8), (2, size, 8)]
    return [
        torch.randn(shape, generator=draw, dtype=torch.float64, requires_grad=True)
        for shape in shapes
    ]


@pytest.mark.parametrize("plain_keys", [1024, 6])  # with the second, some are made twice
@pytest.mark.parametrize("nodes", [TREE, side_by_side([3, 3, 3, 7, 1, 1]), side_by_side([9])])
def test_it_is_attention_with_a_mask_and_so_is_its_gradient(
    nodes: list[tuple[int, int, int]], plain_keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_BLOCK", 4)
    monkeypatch.setattr(attention, "PLAIN_KEYS", plain_keys)
    qkv = drawn(nodes[-1][1])
    ours, theirs = attend(*qkv, 0.5, Layout(nodes)), masked(*qkv, seen_by(nodes))
    assert torch.allclose(ours, theirs, atol=1e-12)
    worth = torch.randn(ours.shape, dtype=torch.float64)
    grads = [torch.autograd.grad((each * worth).sum(), qkv) for each in (ours, theirs)]
    assert all(torch.allclose(*pair, atol=1e-12) for pair in zip(*grads, strict=True))


@pytest.mark.parametrize(("kind", "said"), [("softcap", "capped"), ("sliding_window", "4 others")])
def test_attention_of_another_kind_is_refused(kind: str, said: str) -> None:
    layout = Layout(side_by_side([3, 5]))
    assert layout.longest == 5
    assert Layout(TREE).longest == 9
    qkv = [each[None] for each in drawn(8)]
    attention._for_transformers(None, *qkv, None, layout=layout, sliding_window=5)
    with pytest.raises(BadInput, match=said):
        attention._for_transformers(None, *qkv, None, layout=layout, **{kind: 4})


WORDS = st.lists(st.integers(0, 2), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6), st.data())
def test_a_tree_holds_every_prompt_and_answer_whole(
    branches: list[tuple[list[int], list[int]]], data: st.DataObject
) -> None:
    again = data.draw(st.sampled_from(branches))
    branches = [*branches, (again[0], [7, 8])]
    batch = pack(branches, [])
    tensors = batch.tensors
    may = seen_by([tuple(row) for row in tensors["nodes_n3"].tolist()])
    for number, (prompt, answer) in enumerate(branches):
        own = tensors["branch_a"] == number
        assert tensors["labels_a"][own].tolist() == answer
        last = int(tensors["read_at_a"][own][-1])
        seen = may[last].nonzero()[:, 0]
        assert tensors["tokens_t"][seen].tolist() == (prompt + answer)[:-1]
        assert tensors["positions_t"][seen].tolist() == list(range(len(seen)))
        assert all(b - a == 1 for a, b in pairwise(tensors["read_at_a"][own].tolist()))
    if len(again[0]) > 16:
        assert batch.num_tokens < sum(len(prompt) + len(answer) for prompt, answer in branches)


class Head:
    def __init__(self, frozen: bool) -> None:
        self.lm_head = torch.nn.Linear(8, 50, bias=False, dtype=torch.float64)
        self.lm_head.weight.requires_grad_(not frozen)


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("worth", [torch.ones(13), torch.linspace(-1, 2, 13)])
def test_losses_and_gradients_are_those_of_whole_logits(
    frozen: bool, worth: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_loss, "CHUNK_BYTES", 4 * 50 * 5)  # five targets at a time
    torch.manual_seed(1)
    model = Head(frozen)
    hidden = torch.randn(13, 8, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 50, (13,))
    wanted = [hidden] if frozen else [hidden, model.lm_head.weight]
    losses, is_right = token_loss.token_losses(model, hidden, labels)
    logits = model.lm_head(hidden)
    plain = functional.cross_entropy(logits, labels, reduction="none")
    assert torch.allclose(losses, plain, atol=1e-12)
    assert torch.equal(is_right, logits.argmax(-1) == labels)
    ours = torch.autograd.grad((losses * worth).sum(), wanted)
    theirs = torch.autograd.grad((plain * worth).sum(), wanted)
    assert all(torch.allclose(*pair, atol=1e-12) for pair in zip(ours, theirs, strict=True))


def test_a_long_document_keeps_no_scores_of_every_pair_of_tokens() -> None:
    """What autograd keeps for documents side by side grows with them, not with their square."""

    def kept(lengths: list[int]) -> int:
        sizes: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        qkv = [each.detach().requires_grad_() for each in drawn(sum(lengths))]
        layout = Layout(side_by_side(lengths))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            out = attend(*qkv, 0.5, layout)
        assert out.shape[0] == sum(lengths)
        return sum(sizes.values())

    assert kept([64] * 8) <= 9 * kept([64])
    assert kept([64] * 8) < 0.5 * kept([512])
