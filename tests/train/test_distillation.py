"""A student that learns what its teacher would have said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from undercroft.errors import BadInput
from undercroft.records import Example
from undercroft.train.models import folders
from undercroft.train.objectives.branches import answer_logits
from undercroft.train.objectives.chunked import summed
from undercroft.train.objectives.distillation import Distillation, divergence, lesson_of
from undercroft.train.objectives.objective import Objective, objective
from undercroft.train.samples.data import packs
from undercroft.train.samples.lessons import Lesson, Lessons, Notebook, key

TARGETS, VOCABULARY = 5, 11


def logits(seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(TARGETS, VOCABULARY, generator=draw, dtype=torch.float64) * 2


def lesson(top_k: int, temperature: float) -> Lesson:
    log_av = torch.log_softmax(logits(1) / temperature, -1)
    log_ak, tokens_ak = log_av.topk(top_k)
    rest_a = 1 - log_ak.exp().sum(-1)
    return Lesson(tokens_ak.int(), log_ak, rest_a.clamp(min=0).log())


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_with_the_whole_vocabulary_it_is_the_divergence_itself(temperature: float) -> None:
    teacher_av, student_av = (torch.log_softmax(logits(seed) / temperature, -1) for seed in (1, 2))
    whole = (teacher_av.exp() * (teacher_av - student_av)).sum()
    found = divergence(logits(2), lesson(VOCABULARY, temperature), temperature)
    assert float(found) == pytest.approx(float(whole), rel=1e-12)


@pytest.mark.parametrize("top_k", [1, 4, VOCABULARY - 1])
def test_the_tokens_that_are_left_out_count_as_one(top_k: int) -> None:
    teacher_av, student_av = (torch.softmax(logits(seed) / 2, -1) for seed in (1, 2))
    expected = 0.0
    for teacher_v, student_v in zip(teacher_av, student_av, strict=True):
        named = teacher_v.topk(top_k).indices
        p = torch.cat([teacher_v[named], 1 - teacher_v[named].sum(0, keepdim=True)])
        q = torch.cat([student_v[named], 1 - student_v[named].sum(0, keepdim=True)])
        expected += float((p * (p / q).log()).sum())
    found = divergence(logits(2), lesson(top_k, 2.0), 2.0)
    assert float(found) == pytest.approx(expected, rel=1e-9)
    whole = divergence(logits(2), lesson(VOCABULARY, 2.0), 2.0)
    assert found <= whole + 1e-12


def test_the_gradient_is_that_of_differences() -> None:
    def loss(logits_av: Tensor) -> Tensor:
        return divergence(logits_av, lesson(3, 2.0), 2.0)

    assert torch.autograd.gradcheck(loss, logits(2).requires_grad_())


def test_a_loss_made_in_chunks_has_the_gradient_of_the_loss_of_all_logits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("undercroft.train.objectives.chunked.CHUNK_BYTES", 4 * VOCABULARY * 2)
    draw = torch.Generator().manual_seed(3)
    hidden_ad = torch.randn(TARGETS, 4, generator=draw, dtype=torch.float64, requires_grad=True)
    model = nn.Module()
    model.lm_head = nn.Linear(4, VOCABULARY, bias=False, dtype=torch.float64)
    told = lesson(3, 2.0)

    def loss_of(logits_cv: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        part = Lesson(*(each[rows] for each in told))
        return divergence(logits_cv, part, 2.0), torch.ones(1)

    weights = [hidden_ad, model.lm_head.weight]
    loss, sums_m = summed(model.lm_head, hidden_ad, loss_of)
    found = torch.autograd.grad(3 * loss, weights)
    whole = divergence(model.lm_head(hidden_ad), told, 2.0)
    expected = torch.autograd.grad(3 * whole, weights)
    assert sums_m.tolist() == [3.0]  # chunks of two, two and one
    assert float(loss.detach()) == pytest.approx(float(whole.detach()), rel=1e-12)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.fixture
def taught(
    tiny: Path, examples: list[Example], tmp_path: Path
) -> tuple[nn.Module, Objective[Any], Path]:
    """A student, what it reads, and lessons of a teacher that is a little different."""
    teacher, tokenizer = folders.load(tiny, "fp32")
    with torch.no_grad():
        for weight in teacher.parameters():
            weight.mul_(1.5)
    student, _ = folders.load(tiny, "fp32")
    inner = objective("sft", tokenizer, "tools", 4096)
    notebook = Notebook(tmp_path)
    for pack in packs(examples, 2):
        batch = inner.collate(pack)
        notebook.add(key(batch.tensors), lesson_of(teacher, batch, 8, 2.0))
    notebook.close({"temperature": 2.0})
    return student, inner, tmp_path


def test_the_loss_is_the_share_of_each_and_both_are_reported(
    taught: tuple[nn.Module, Objective[Any], Path], examples: list[Example]
) -> None:
    student, inner, folder = taught
    goal = Distillation(inner, Lessons(folder), share=0.75)
    batch = goal.collate(packs(examples, 2)[0])
    terms = goal.terms(student, batch)
    logits_av = answer_logits(student, batch)
    kl = divergence(logits_av, Lessons(folder).of(key(inner.collate(examples[:2]).tensors)), 2.0)
    own = functional.cross_entropy(logits_av, batch.tensors["labels_a"], reduction="sum")
    expected = 0.75 * 4 * kl + 0.25 * own
    assert float(terms.loss_sum.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert terms.metrics["teacher_kl"] == (pytest.approx(float(kl.detach()), rel=1e-5), terms.count)
    assert terms.metrics["answer_loss"] == (
        pytest.approx(float(own.detach()), rel=1e-5),
        terms.count,
    )


def test_a_student_that_is_its_teacher_has_nothing_to_learn(
    tiny: Path, examples: list[Example], tmp_path: Path
) -> None:
    model, tokenizer = folders.load(tiny, "fp32")
    inner = objective("sft", tokenizer, "tools", 4096)
    batch = inner.collate(examples[:2])
    notebook = Notebook(tmp_path)
    notebook.add(key(batch.tensors), lesson_of(model, batch, 8, 1.0))
    notebook.close({"temperature": 1.0})
    goal = Distillation(inner, Lessons(tmp_path), share=1.0)
    terms = goal.terms(model, goal.collate(examples[:2]))
    terms.loss_sum.backward()
    assert float(terms.loss_sum.detach()) == pytest.approx(0, abs=1e-4)
    assert max(float(weight.grad.abs().max()) for weight in model.parameters()) < 1e-5


def test_lessons_are_read_as_they_were_written_and_go_on_after_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("undercroft.train.samples.lessons._PART_BYTES", 100)
    wanted = {f"s{number}": lesson(2, 1.0 + number) for number in range(5)}
    stopped = Notebook(tmp_path)
    for name in ("s0", "s1"):
        stopped.add(name, wanted[name])
    again = Notebook(tmp_path)
    assert "s0" in again
    for name, each in wanted.items():
        if name not in again:
            again.add(name, each)
    again.close({"temperature": 1.0})
    read = Lessons(tmp_path)
    assert len(read) == 5
    for name, each in wanted.items():
        for ours, theirs in zip(read.of(name), each, strict=True):
            assert torch.equal(ours, theirs)


def test_a_sample_that_the_teacher_never_saw_is_refused(
    taught: tuple[nn.Module, Objective[Any], Path], examples: list[Example]
) -> None:
    _, inner, folder = taught
    with pytest.raises(BadInput, match="The teacher was not shown"):
        Distillation(inner, Lessons(folder), 0.5).collate(examples[1:3])
    with pytest.raises(BadInput, match="There are no lessons of a teacher"):
        Lessons(folder / "elsewhere")
