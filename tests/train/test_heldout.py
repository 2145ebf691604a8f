"""What is held out is measured without a trace, and its best weights are what a run ends with."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.train.small import SAMPLES, Squares, digest, model, settings, start
from undercroft.errors import BadInput, Cancelled
from undercroft.train.heldout import Heldout, Patience, apart
from undercroft.train.objectives.penalties import Penalised, Quadratic
from undercroft.train.parallel.team import Alone
from undercroft.train.points import Point
from undercroft.train.samples.packing import Corpus, pack
from undercroft.train.state.checkpoint import Store

HELD = SAMPLES[:9]
OVERFITS: dict[str, Any] = {
    "max_steps": 40, "learning_rate": 0.5, "heldout_steps": 2, "patience": 3, "spike_threshold": 0,
    "checkpoint_steps": 7, "checkpoints_kept": 1,
}  # fmt: skip
Events = list[tuple[str, dict[str, Any]]]


def stopped(folder: Path, **changed: Any) -> tuple[Any, list[Point], Events]:
    points: list[Point] = []
    events: Events = []
    run = start(
        folder, settings(**OVERFITS | changed), heldout=HELD,
        event=lambda kind, detail: events.append((kind, dict(detail))),
    )  # fmt: skip
    run.train(lambda point, schedule: points.append(point))
    return run, points, events


def test_samples_of_one_origin_are_on_one_side() -> None:
    samples = [(f"file {at // 3}", at) for at in range(300)]
    kept, held = apart(samples, 0.1, 7, lambda sample: sample[0])
    assert {name for name, _ in kept}.isdisjoint(name for name, _ in held)
    assert sorted([*kept, *held]) == sorted(samples)
    assert 30 <= len(held) <= 33
    assert apart(samples, 0.1, 7, lambda sample: sample[0]) == (kept, held)
    assert apart(samples, 0.9, 7, lambda sample: sample[0])[1].__len__() <= 66
    assert apart(samples, 0, 7, lambda sample: sample[0]) == (samples, ())
    with pytest.raises(BadInput, match="one source"):
        apart(samples, 0.1, 7, lambda sample: "same")


def test_documents_that_are_held_out_are_in_no_row_that_is_trained_on() -> None:
    lengths = np.array([5, 40, 3, 17, 90, 8])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    corpus = Corpus(list("abcdef"), np.arange(offsets[-1], dtype=np.uint32), offsets)
    kept, held = apart(range(6), 0.4, 1, lambda document: document)
    rows = [pack(corpus, 16, 2, 3, part) for part in (kept, held)]
    read = [{span.document for sample in part for row in sample for span in row} for part in rows]
    assert read == [{"abcdef"[at] for at in part} for part in (kept, held)]
    assert [part.num_documents for part in rows] == [len(kept), len(held)] == [4, 2]


def test_patience_counts_what_was_not_the_best() -> None:
    patience = Patience(2)
    assert [patience.is_better(step, loss) for step, loss in enumerate([3, 2, 2, math.nan])] == [
        True, True, False, False,
    ]  # fmt: skip
    assert (patience.best_step, patience.is_out) == (1, True)
    assert not Patience(0, waited=99).is_out


def test_measuring_leaves_no_trace() -> None:
    """Neither on weights and buffers, nor on the objective, random numbers, or dropout."""
    net, goal = model(), Squares()
    net.train()
    before, drawn = digest(net), torch.get_rng_state()
    measured = Heldout(net, goal, HELD, Alone()).measure()
    assert digest(net) == before
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not goal.seen.any()
    assert net.training
    net.eval()
    batches = [goal.collate(sample) for sample in HELD]
    with torch.no_grad():
        total = sum(float(goal.terms(net, batch).loss_sum) for batch in batches)
    assert measured == {"heldout_loss": pytest.approx(total / sum(b.count for b in batches))}


def test_what_is_held_out_is_measured_without_penalties() -> None:
    net, goal = model(), Squares()
    anchor = {name: torch.zeros_like(each) for name, each in net.named_parameters()}
    held = Penalised(goal, [Quadratic(1e3, anchor)])
    found = [Heldout(net, each, HELD, Alone()).measure()["heldout_loss"] for each in (goal, held)]
    assert found[0] == found[1]


def test_a_run_stops_when_it_no_longer_gets_better_and_takes_the_best_weights(
    tmp_path: Path,
) -> None:
    run, points, events = stopped(tmp_path)
    losses = {p.step: p.metrics["heldout_loss"] for p in points if "heldout_loss" in p.metrics}
    best = min(losses, key=lambda step: losses[step])
    last = points[-1].step
    assert last == best + 6 < 40  # three measurements, each after two steps
    assert list(losses) == list(range(2, last + 1, 2))
    assert [kind for kind, _ in events] == ["stopped_early", "best_weights_taken"]
    assert events[0][1] == {"step": last, "best_step": best, "heldout_loss": losses[best]}
    assert run.tally.dropped == list(range(best + 1, last + 1))
    found = Store(tmp_path, "c", 1, lambda *_: None).read(exactly=best)
    assert found is not None  # though only one checkpoint is kept, and one was made since
    assert all(
        torch.equal(weight, found.tensors[f"master.{name}"])
        for name, weight in run.model.named_parameters()
    )
    assert Heldout(run.model, Squares(), HELD, Alone()).measure()["heldout_loss"] == pytest.approx(
        losses[best]
    )


@pytest.mark.parametrize("killed_after", [1, 2, 4, 7])
def test_a_run_that_is_killed_stops_where_the_one_that_was_not_does(
    tmp_path: Path, killed_after: int
) -> None:
    straight, points, _ = stopped(tmp_path / "straight")

    def kill(point: Point, schedule: Any) -> None:
        if point.step > killed_after:
            raise Cancelled("killed")

    params = settings(**OVERFITS)
    with pytest.raises(Cancelled):
        start(tmp_path / "killed", params, heldout=HELD).train(kill)
    resumed, later, _ = stopped(tmp_path / "killed")
    assert digest(resumed.model) == digest(straight.model)
    assert resumed.tally == straight.tally
    own = [(p.step, p.loss, p.metrics) for p in later]
    assert own == [(p.step, p.loss, p.metrics) for p in points][-len(own) :]


def test_without_patience_training_goes_to_its_end_and_still_takes_the_best(
    tmp_path: Path,
) -> None:
    run, points, events = stopped(tmp_path, patience=0, max_steps=20)
    assert points[-1].step == 20
    assert [kind for kind, _ in events] == ["best_weights_taken"]
    assert run.tally.stopped_early is None
    assert run.tally.heldout_loss == min(
        p.metrics["heldout_loss"] for p in points if "heldout_loss" in p.metrics
    )


def test_best_weights_that_cannot_be_read_are_told_and_the_last_are_kept(tmp_path: Path) -> None:
    events: list[str] = []

    def spoil(point: Point, schedule: Any) -> None:
        for path in tmp_path.glob("checkpoint-*/tensors.safetensors"):
            path.write_bytes(b"spoilt")

    run = start(
        tmp_path, settings(**OVERFITS), heldout=HELD, event=lambda kind, _: events.append(kind)
    )
    run.train(spoil)
    assert events[-1] == "best_weights_lost"
    assert "checkpoint_broken" in events
    assert run.tally.stopped_early
