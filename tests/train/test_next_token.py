"""Documents packed into rows, and the loss on them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from undercroft.errors import BadConfig
from undercroft.train.models import folders
from undercroft.train.objectives.next_token import NextToken
from undercroft.train.objectives.objective import objective
from undercroft.train.samples.packing import Corpus, Row, Span, pack

LENGTHS = (3, 40, 17, 9, 2, 64, 5, 30)  # tokens of each document, both marks included


def corpus(lengths: tuple[int, ...] | list[int], vocabulary: int = 200) -> Corpus:
    draw = np.random.default_rng(0)
    tokens = draw.integers(3, vocabulary, sum(lengths)).astype(np.uint32)
    offsets = np.cumsum([0, *lengths])
    return Corpus([f"d{n}" for n in range(len(lengths))], tokens, offsets)


def rows_of(packed: object) -> list[Row]:
    return [row for sample in packed for row in sample]


@given(st.lists(st.integers(0, 90), min_size=1, max_size=40), st.integers(8, 40), st.integers(0, 5))
def test_every_token_of_every_document_is_predicted_once(
    lengths: list[int], context: int, seed: int
) -> None:
    whole = corpus(lengths)
    packed = pack(whole, context, 3, seed)
    predicted: Counter[tuple[str, int]] = Counter()
    expected: Counter[tuple[str, int]] = Counter()
    for number, name in enumerate(whole.documents):
        own = whole.tokens[whole.offsets[number] : whole.offsets[number + 1]]
        expected.update((name, int(token)) for token in own[1:])
    for row in rows_of(packed):
        assert 0 < sum(len(span.tokens) - 1 for span in row) <= context
        predicted.update((s.document, int(token)) for s in row for token in s.tokens[1:])
    assert predicted == expected
    again = pack(whole, context, 3, seed)
    assert np.array_equal(packed.pieces, again.pieces)
    assert np.array_equal(packed.firsts, again.firsts)


def test_rows_are_full_and_only_long_documents_are_cut() -> None:
    lengths = np.random.default_rng(1).integers(2, 300, 2000).tolist()
    packed = pack(corpus(lengths), 256, 4, seed=0)
    assert packed.pieces[:, 2].sum() > 0.99 * packed.num_rows * 256
    cut = {number for number, count in Counter(packed.pieces[:, 0].tolist()).items() if count > 1}
    assert cut == {number for number, length in enumerate(lengths) if length - 1 > 256}


def gradients(model: torch.nn.Module) -> torch.Tensor:
    found = torch.cat([weight.grad.flatten() for weight in model.parameters()])
    model.zero_grad()
    return found


@pytest.mark.parametrize("max_tokens", [1024, 2048])  # both kinds of attention
def test_packed_documents_give_the_loss_and_gradient_of_documents_read_apart(
    tiny: Path, max_tokens: int
) -> None:
    llama, _ = folders.load(tiny, "fp32", max_tokens)
    goal = NextToken()
    packed = pack(corpus(LENGTHS), 48, 8, seed=0)
    together = goal.collate(packed[0])
    assert len(packed) == 1
    assert together.count == sum(LENGTHS) - len(LENGTHS)
    terms = goal.terms(llama, together)
    terms.loss_sum.backward()
    shared = gradients(llama)
    loss, right = 0.0, 0.0
    for row in packed[0]:
        for span in row:
            alone = goal.terms(llama, goal.collate(((span,),)))
            alone.loss_sum.backward()
            loss += float(alone.loss_sum.detach())
            right += alone.metrics["token_accuracy"][0]
    apart = gradients(llama)
    assert float(terms.loss_sum.detach()) == pytest.approx(loss, rel=1e-5)
    assert terms.metrics["token_accuracy"][0] == right
    assert functional.cosine_similarity(shared, apart, dim=0) > 0.99999
    assert torch.allclose(shared, apart, atol=2e-4)


def test_what_a_document_says_does_not_reach_its_neighbour(tiny: Path) -> None:
    llama, _ = folders.load(tiny, "fp32")
    goal = NextToken()
    first, second, other = (np.arange(n, n + 9, dtype=np.uint32) for n in (10, 40, 90))

    def loss_of_second(before: np.ndarray) -> float:
        row = (Span("a", before), Span("b", second))
        before_alone = goal.terms(llama, goal.collate(((Span("a", before),),))).loss_sum
        return float((goal.terms(llama, goal.collate((row,))).loss_sum - before_alone).detach())

    assert loss_of_second(first) == pytest.approx(loss_of_second(other), abs=1e-4)


def test_the_loss_is_that_of_the_library(tiny: Path) -> None:
    llama, _ = folders.load(tiny, "fp32")
    tokens = np.arange(5, 60, dtype=np.uint32)
    terms = NextToken().terms(llama, NextToken().collate(((Span("d", tokens),),)))
    ids = torch.from_numpy(tokens.astype(np.int64))[None]
    expected = float(llama(input_ids=ids, labels=ids).loss.detach())
    assert float(terms.loss_sum.detach()) / terms.count == pytest.approx(expected, rel=1e-5)


def test_an_objective_is_not_trained_on_what_it_cannot_read() -> None:
    with pytest.raises(BadConfig, match="undercroft pretrain"):
        objective("next_token", None, "", 0)
    assert objective("next_token", None, "", 0, reads="documents")
