"""Which documents were read at which step follows from a seed and positions."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.train.test_loop import Exploding, ignore, settings, start
from tests.train.test_next_token import corpus
from undercroft.errors import Cancelled
from undercroft.records import Example
from undercroft.train.loop import Point, Run
from undercroft.train.models import folders
from undercroft.train.objectives.next_token import NextToken
from undercroft.train.objectives.objective import Batch
from undercroft.train.objectives.sft import SupervisedFineTuning
from undercroft.train.reading import Read, of_samples, seen_by, write_reading
from undercroft.train.samples.data import packs
from undercroft.train.samples.packing import pack
from undercroft.train.schedule import Schedule


class Watched:
    """An objective that notes the ids of all batches that were trained on."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.read: list[tuple[str, ...]] = []

    def collate(self, sample: Any) -> Batch | None:
        return self.inner.collate(sample)

    def terms(self, model: Any, batch: Batch) -> Any:
        self.read.append(batch.ids)
        return self.inner.terms(model, batch)


def found(folder: Path, samples: Iterable[Iterable[Read]], run: Run[Any], seed: int) -> Any:
    """What the record of ``run`` says: document -> steps."""
    reading = write_reading(folder, samples, seed, run.tally)
    (folder / "training.json").write_text(json.dumps({"reading": reading}))
    return {each.document: each.steps for each in seen_by(folder, "model:m")}


def test_a_document_is_known_by_every_step_that_read_it_and_by_no_other(
    tiny: Path, examples: list[Example], tmp_path: Path
) -> None:
    """Against a log of what was really read; one example is too long, one step is dropped."""
    params = settings(max_steps=9, batch_size=2)
    _, tokenizer = folders.load(tiny, "fp32")
    sft = SupervisedFineTuning(tokenizer, "tools", 1200)
    given = [replace(examples[0], question="Is it? " * 300), *examples[1:]]
    given[3] = replace(given[3], source_document="only-an-answer")
    goal = Watched(Exploding(sft, {4}))
    log: dict[str, set[int]] = {}
    named = {e.id: {p.document for p in e.passages} | {e.source_document} - {""} for e in given}

    def note(point: Point, schedule: Schedule) -> None:
        for ids in goal.read:
            for document in set().union(*(named[each] for each in ids)):
                log.setdefault(document, set()).add(point.step)
        goal.read.clear()

    run = start(
        tiny, given, tmp_path / "c", params, objective=goal,
        event=lambda kind, detail: goal.read.clear(),  # that a step was dropped
    )  # fmt: skip
    run.train(note)
    assert len(run.tally.dropped) == 1
    assert run.tally.left_out
    steps = found(tmp_path, of_samples(packs(given, 2)), run, params.seed)
    assert {name: set(each) for name, each in steps.items()} == log


def test_a_stopped_run_knows_the_steps_before_and_after_it_stopped(
    tiny: Path, tmp_path: Path
) -> None:
    params = settings(max_steps=8, batch_size=4)
    rows = pack(corpus([30, 9, 70, 12, 41, 5, 22, 64, 18], 100), 32, 2, params.seed)

    def begin(folder: Path) -> Run[Any]:
        model, _ = folders.load(tiny, "fp32")
        return Run(
            model, NextToken(), rows, params, folder=folder, config_digest="c",
            event=lambda kind, detail: None,
        )  # fmt: skip

    def stop(point: Point, schedule: Schedule) -> None:
        if point.step > 3:
            raise Cancelled("stop")

    straight = begin(tmp_path / "straight")
    straight.train(ignore)
    with pytest.raises(Cancelled):
        begin(tmp_path / "stopped").train(stop)
    resumed = begin(tmp_path / "stopped")
    assert 0 < resumed.schedule.step < 8
    resumed.train(ignore)
    assert resumed.tally == straight.tally
    held = [[Read(span.document, span.document) for row in s for span in row] for s in rows]
    steps = found(tmp_path, held, resumed, params.seed)
    assert set(steps) == {f"d{n}" for n in range(9)}
    assert steps == found(tmp_path, held, straight, params.seed)
    assert len(steps["d2"]) <= 8
