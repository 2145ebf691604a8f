"""Penalties, the Fisher and replay, held to numbers computed by hand or by brute force."""

from __future__ import annotations

import copy
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from undercroft.errors import BadInput, Cancelled
from undercroft.records import Example
from undercroft.settings import TrainSettings
from undercroft.train.loop import Point, Run
from undercroft.train.models import folders
from undercroft.train.models.lora import Lora, adapt
from undercroft.train.objectives import fisher
from undercroft.train.objectives.objective import Batch, Terms
from undercroft.train.objectives.penalties import (
    KLToReference,
    Penalised,
    Quadratic,
    consolidated,
    to_start,
    weights_of,
)
from undercroft.train.objectives.sft import SupervisedFineTuning
from undercroft.train.samples.data import packs
from undercroft.train.samples.mixture import replayed


def settings(**changed: object) -> TrainSettings:
    values = {"batch_size": 3, "learning_rate": 1e-2, "precision": "fp32", "max_tokens": 4096}
    return TrainSettings(**{**values, **changed})


def ignore(point: Point, schedule: object) -> None:
    pass


class Classes:
    """Classification by a plain module: what the smallest objective looks like."""

    def collate(self, rows: list[tuple[list[float], int]]) -> Batch:
        x_ad = torch.tensor([x for x, _ in rows])
        labels_a = torch.tensor([y for _, y in rows])
        return Batch({"x_ad": x_ad, "labels_a": labels_a}, len(rows), len(rows), len(rows))

    def terms(self, model: nn.Module, batch: Batch) -> Terms:
        loss = functional.cross_entropy(
            logits(model, batch), batch.tensors["labels_a"], reduction="sum"
        )
        return Terms(loss, batch.count, {})


def logits(model: nn.Module, batch: Batch) -> Tensor:
    return model(batch.tensors["x_ad"])


def network(seed: int = 0, hidden: int = 4) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, hidden), nn.Tanh(), nn.Linear(hidden, 3))


def rows(count: int, seed: int = 1) -> list[tuple[list[float], int]]:
    draw = torch.Generator().manual_seed(seed)
    x_ad = torch.randn(count, 3, generator=draw)
    return [(x.tolist(), int(x[0] > 0) + int(x[1] > 0)) for x in x_ad]


def batches(data: list[tuple[list[float], int]], size: int) -> list[Batch]:
    return [Classes().collate(data[at : at + size]) for at in range(0, len(data), size)]


def exact_fisher(model: nn.Module, data: list[tuple[list[float], int]]) -> dict[str, Tensor]:
    """Its definition, every label of every example in turn."""
    total = {name: torch.zeros_like(weight) for name, weight in model.named_parameters()}
    for x, _ in data:
        log_c = torch.log_softmax(model(torch.tensor([x]))[0], -1)
        for label in range(3):
            scores = torch.autograd.grad(log_c[label], list(model.parameters()), retain_graph=True)
            for name, score in zip(total, scores, strict=True):
                total[name] += log_c[label].exp().detach() * score**2 / len(data)
    return total


def flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])


@pytest.mark.parametrize("size", [1, 4])
def test_the_fisher_is_that_of_every_label_however_examples_are_batched(size: int) -> None:
    model, data = network(), rows(12)
    exact = flat(exact_fisher(model, data))
    found = flat(fisher.diagonal(model, batches(data, size), logits, seed=3, draws=500))
    assert (found - exact).norm() / exact.norm() < 0.08
    assert found.mean().item() == pytest.approx(exact.mean().item(), rel=0.04)


def test_every_label_in_turn_gives_the_fisher_itself() -> None:
    model, data = network(), rows(12)
    found = fisher.exact_diagonal(model, batches(data, 1), logits)
    assert torch.allclose(flat(found), flat(exact_fisher(model, data)), rtol=1e-4, atol=1e-8)


def test_the_short_cut_of_squaring_a_mean_gradient_is_something_else() -> None:
    model, data = network(), rows(64)
    trained = torch.optim.LBFGS(model.parameters(), max_iter=60)
    batch = Classes().collate(data)

    def closure() -> Tensor:
        trained.zero_grad()
        loss = Classes().terms(model, batch).loss_sum / batch.count
        loss = loss + 0.01 * sum((w**2).sum() for w in model.parameters())
        loss.backward()
        return loss

    trained.step(closure)
    short_cut = torch.zeros(1)
    for part in batches(data, 16):
        mean = Classes().terms(model, part).loss_sum / part.count
        scores = torch.autograd.grad(mean, list(model.parameters()))
        short_cut = short_cut + sum((score**2).sum() for score in scores) / 4
    exact = flat(exact_fisher(model, data)).sum()
    drawn = flat(fisher.diagonal(model, batches(data, 1), logits, seed=0, draws=20)).sum()
    assert drawn.item() == pytest.approx(exact.item(), rel=0.1)
    assert short_cut.item() < 0.3 * exact.item()


def test_the_fisher_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)).train()
    first = fisher.diagonal(model, batches(rows(4), 1), logits, seed=1)
    again = fisher.diagonal(model, batches(rows(4), 1), logits, seed=1)
    assert torch.equal(flat(first), flat(again))
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())
    with pytest.raises(BadInput, match="Nothing says which weights matter"):
        fisher.diagonal(model, [], logits, seed=1)


def test_ewc_is_the_formula_of_its_paper() -> None:
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 2.0]]))
    penalty = consolidated(10.0, model, {"weight": torch.tensor([[0.5, 2.0]])})
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.5, 1.0]]))
    cost = penalty(model, batches(rows(1), 1)[0])
    cost.backward()
    assert cost.item() == pytest.approx(10 / 2 * (0.5 * 0.5**2 + 2.0 * 1.0**2))
    assert model.weight.grad is not None
    assert model.weight.grad.tolist() == [[10 * 0.5 * 0.5, 10 * 2.0 * -1.0]]


def test_l2_pulls_to_where_training_began() -> None:
    model = nn.Linear(2, 1)
    penalty = to_start(4.0, model)
    assert penalty(model, batches(rows(1), 1)[0]).item() == 0.0
    with torch.no_grad():
        model.bias += 3.0
    assert penalty(model, batches(rows(1), 1)[0]).item() == pytest.approx(4 / 2 * 9, rel=1e-5)


def test_merging_two_tasks_penalties_is_their_sum_everywhere() -> None:
    draw = torch.Generator().manual_seed(5)
    shapes = weights_of(network())
    first, second = (
        Quadratic(
            strength,
            {name: torch.randn(like.shape, generator=draw) for name, like in shapes.items()},
            {name: torch.rand(like.shape, generator=draw) for name, like in shapes.items()},
        )
        for strength in (3.0, 7.0)
    )
    merged = first.merged(second)
    batch = batches(rows(1), 1)[0]
    for seed in range(3):
        model = network(seed)
        apart = first(model, batch) + second(model, batch)
        scores = torch.autograd.grad(apart, list(model.parameters()))
        same = torch.autograd.grad(merged(model, batch), list(model.parameters()))
        assert merged(model, batch).item() == pytest.approx(apart.item(), rel=1e-4)
        assert all(
            torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(scores, same, strict=True)
        )


def test_a_penalty_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    model = network()
    made = consolidated(2.5, model, exact_fisher(model, rows(3)))
    made.save(tmp_path / "ewc.safetensors")
    read = Quadratic.load(tmp_path / "ewc.safetensors")
    batch, other = batches(rows(1), 1)[0], network(9)
    assert read(other, batch).item() == made(other, batch).item()
    (tmp_path / "no.safetensors").write_text("nothing")
    with pytest.raises(BadInput, match="is not a penalty"):
        Quadratic.load(tmp_path / "no.safetensors")


def test_a_penalty_of_another_model_is_refused() -> None:
    penalty = to_start(1.0, nn.Sequential(nn.Linear(1, 1)))
    with pytest.raises(BadInput, match="another model"):
        penalty(nn.Linear(1, 1), batches(rows(1), 1)[0])


def test_kl_is_its_formula_and_its_gradient_that_of_differences() -> None:
    model, reference = network(0).double(), network(1).double()
    batch = batches(rows(5), 5)[0]
    batch.tensors["x_ad"] = batch.tensors["x_ad"].double()  # type: ignore[index]

    penalty = KLToReference(2.0, reference, last_layer)
    p = torch.softmax(logits(reference, batch), -1)
    q = torch.softmax(logits(model, batch), -1)
    by_hand = 2.0 * (p * (p / q).log()).sum(-1).mean()
    cost = penalty(model, batch)
    assert cost.item() == pytest.approx(by_hand.item(), rel=1e-6)
    cost.backward()
    weight, step = model[0].weight, 1e-6
    with torch.no_grad():
        weight[0, 0] += step
        above = penalty(model, batch).item()
        weight[0, 0] -= 2 * step
        below = penalty(model, batch).item()
    assert weight.grad[0, 0].item() == pytest.approx((above - below) / (2 * step), rel=1e-4)
    same = KLToReference(1.0, copy.deepcopy(model), last_layer)
    assert same(model, batch).item() == pytest.approx(0)


def last_layer(model: Any, batch: Batch) -> tuple[Tensor, nn.Module]:
    """What the last layer of ``model`` reads, and that layer."""
    return model[:-1](batch.tensors["x_ad"]), model[-1]


def test_kl_to_the_base_of_adapters_starts_at_zero(tiny: Path, examples: list[Example]) -> None:
    model, tokenizer = folders.load(tiny, "fp32")
    goal = SupervisedFineTuning(tokenizer, "tools", 4096)
    batch = goal.collate(examples[:2])
    assert batch is not None
    adapt(model, Lora(4, 8.0), seed=0)
    penalty = KLToReference(1.0)
    assert penalty(model, batch).item() == pytest.approx(0.0, abs=1e-6)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.add_(0.1)
    assert penalty(model, batch).item() > 1e-3


def test_a_penalty_counts_once_however_the_step_is_cut() -> None:
    model = network()
    goal = Penalised(Classes(), [to_start(5.0, network(7))])
    gradients = []
    for size in (2, 3, 6):
        parts = [goal.collate(rows(6)[at : at + size]) for at in range(0, 6, size)]
        model.zero_grad()
        for part in parts:
            (goal.terms(model, part).loss_sum / 6).backward()
        gradients.append(torch.cat([w.grad.flatten() for w in model.parameters()]))
    assert torch.allclose(gradients[0], gradients[1], atol=1e-6)
    assert torch.allclose(gradients[0], gradients[2], atol=1e-6)
    terms = goal.terms(model, goal.collate(rows(6)))
    cost, count = terms.metrics["l2_to_start"]
    plain = Classes().terms(model, Classes().collate(rows(6))).loss_sum
    assert count == 6
    assert terms.loss_sum.item() == pytest.approx(plain.item() + cost, rel=1e-5)


def test_a_run_with_penalties_and_replay_resumes_with_the_same_weights(
    tiny: Path, examples: list[Example], tmp_path: Path
) -> None:
    def start(folder: Path) -> Run:
        model, tokenizer = folders.load(tiny, "fp32")
        reference, _ = folders.load(tiny, "fp32")
        holds = [to_start(0.1, reference), KLToReference(0.5, reference)]
        goal = Penalised(SupervisedFineTuning(tokenizer, "tools", 4096), holds)
        mixed = replayed(packs(examples[:6], 2), [packs(examples[6:], 2)], 0.4, seed=2)
        return Run(
            model, goal, mixed, settings(max_steps=5, checkpoint_seconds=1e-6), folder=folder,
            config_digest="c", event=lambda kind, detail: None,
        )  # fmt: skip

    def stop(point: Point, schedule: object) -> None:
        if point.step == 3:
            raise Cancelled("stop")

    straight = start(tmp_path / "straight")
    straight.train(ignore)
    with pytest.raises(Cancelled):
        start(tmp_path / "stopped").train(stop)
    resumed = start(tmp_path / "stopped")
    resumed.train(ignore)
    assert torch.equal(flat(weights_of(resumed.model)), flat(weights_of(straight.model)))


def test_ewc_keeps_an_earlier_task_that_plain_training_forgets(tmp_path: Path) -> None:
    """Two regions of one plane: what is learnt of the second must not spoil the first."""
    first = [([x[0], x[1], 0.0], y) for x, y in rows(60, 1)]
    second = [([0.0, x[1], x[2]], 2 * int(x[2] > 0)) for x, _ in rows(60, 2)]
    kept = {}
    for name in ("none", "ewc"):
        model = network(3, hidden=24)
        train(model, Classes(), first, tmp_path / f"{name}1")
        goal: Classes | Penalised = Classes()
        if name == "ewc":
            found = fisher.exact_diagonal(model, batches(first, 1), logits)
            goal = Penalised(Classes(), [consolidated(50.0, model, found)])
        train(model, goal, second, tmp_path / f"{name}2")
        batch = Classes().collate(first)
        kept[name] = Classes().terms(model, batch).loss_sum.item() / batch.count
    assert math.isfinite(kept["ewc"])
    assert kept["ewc"] < 0.6 * kept["none"]


def train(model: nn.Module, goal: object, data: list, folder: Path) -> None:
    samples = [data[at : at + 10] for at in range(0, len(data), 10)]
    params = settings(max_steps=120, batch_size=10, checkpoint_seconds=1e6)
    Run(
        model, goal, samples, params, folder=folder, config_digest="c",
        event=lambda kind, detail: None,
    ).train(ignore)  # fmt: skip


def test_replay_is_its_share_of_the_whole_and_the_same_each_time() -> None:
    new, old, older = list(range(80)), list(range(100, 400)), [1000, 1001, 1002]
    mixed = replayed(new, [old, older], 0.2, seed=4)
    assert list(mixed) == list(replayed(new, [old, older], 0.2, seed=4))
    assert list(mixed) != list(replayed(new, [old, older], 0.2, seed=5))
    assert list(mixed)[:80] == new
    again = Counter(each for each in mixed if each >= 1000)
    assert len(mixed) == 100
    assert sorted(again.values()) == [3, 3, 4]
    assert list(mixed[78:82]) == [mixed[at] for at in range(78, 82)]
    assert list(replayed(new, [], 0.0, seed=4)) == new


def test_replay_of_nothing_and_of_everything_are_refused() -> None:
    with pytest.raises(BadInput, match="nothing to replay"):
        replayed([1], [[]], 0.5, seed=0)
    with pytest.raises(BadInput, match="share of replay of 1 cannot be"):
        replayed([1], [[2]], 1.0, seed=0)
