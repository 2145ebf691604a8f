"""Runs: begun, taken over, finished in one transaction, failed; what they say while they run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.ledger.conftest import Make, made
from undercroft.errors import Busy, NotFound
from undercroft.ledger import Ledger
from undercroft.ledger.tables import run_inputs
from undercroft.records import Footprint, Ref
from undercroft.trust import AuditLog

COST = Footprint(12.5, 20.0, 1 << 33, 0.25, "measured", 0.01)


def test_a_run_reads_back_as_it_was(ledger: Ledger, make: Make) -> None:
    raw = make("raw")
    begun = ledger.begin_run("curate", "k", {"languages": ["en"], "rate": 0.5}, [raw])
    assert (begun.status, begun.attempt, begun.outputs) == ("running", 1, ())
    assert begun.inputs == (raw.ref,)
    ledger.finish_run(begun.id, [made()], COST)
    run = ledger.run(begun.id)
    assert run.status == "finished"
    assert run.params == {"languages": ["en"], "rate": 0.5}
    assert run.inputs == (Ref("raw", "docs", 1),)
    assert run.outputs == (Ref("dataset", "docs", 1),)
    assert run.footprint == COST
    assert run.finished_at is not None
    assert run.finished_at >= run.started_at
    assert abs(run.started_at - datetime.now(UTC)) < timedelta(seconds=30)


def test_inputs_stay_pinned_when_newer_versions_come(ledger: Ledger, make: Make) -> None:
    dataset = make("dataset", make("raw"))
    make("raw")
    assert ledger.run_of(dataset).inputs == (Ref("raw", "docs", 1),)
    assert ledger.run_of("dataset:docs").id == dataset.run_id


def test_outputs_keep_the_order_in_which_they_were_named(ledger: Ledger) -> None:
    run = ledger.begin_run("examples", "k", {}, [])
    outputs = ledger.finish_run(run.id, [made("suite"), made("examples")], Footprint())
    assert [artifact.kind for artifact in outputs] == ["suite", "examples"]
    assert ledger.memo("k") == outputs
    assert [ref.kind for ref in ledger.run(run.id).outputs] == ["suite", "examples"]


def test_a_finished_run_is_remembered_by_its_key(ledger: Ledger) -> None:
    assert ledger.memo("k") is None
    run = ledger.begin_run("curate", "k", {}, [])
    assert ledger.memo("k") is None
    outputs = ledger.finish_run(run.id, [made()], Footprint())
    assert ledger.memo("k") == outputs
    assert ledger.memo("other") is None


def test_a_failed_run_is_not_remembered(ledger: Ledger) -> None:
    run = ledger.begin_run("curate", "k", {}, [])
    ledger.fail_run(run.id, "disk on fire\x00", COST)
    failed = ledger.run(run.id)
    assert (failed.status, failed.error) == ("failed", "disk on fire\ufffd")
    assert failed.footprint == COST
    assert ledger.memo("k") is None
    again = ledger.begin_run("curate", "k", {}, [])
    assert (again.id != run.id, again.attempt) == (True, 1)


def test_what_a_dead_attempt_left_running_is_taken_over(ledger: Ledger) -> None:
    dead = ledger.begin_run("train", "k", {"minutes": 2}, [])
    taken = ledger.begin_run("train", "k", {"minutes": 2}, [], run_id="another")
    assert (taken.id, taken.attempt) == (dead.id, 2)
    assert taken.started_at >= dead.started_at
    assert len(ledger.runs()) == 1


def test_a_run_taken_over_takes_the_inputs_it_is_given(ledger: Ledger, make: Make) -> None:
    dead = ledger.begin_run("curate", "k", {}, [make("raw")])
    ledger.report_progress(dead.id, 5, 10, "documents")
    taken = ledger.begin_run("curate", "k", {}, [make("raw")])
    assert taken.id == dead.id
    assert taken.inputs == (Ref("raw", "docs", 2),)
    assert ledger.progress(dead.id) is None


def test_a_failed_run_can_be_tried_again_under_its_own_id(ledger: Ledger) -> None:
    ledger.begin_run("train", "k", {}, [], run_id="job-1")
    ledger.fail_run("job-1", "out of memory", Footprint())
    again = ledger.begin_run("train", "k", {}, [], run_id="job-1")
    assert (again.id, again.status, again.attempt, again.error) == ("job-1", "running", 2, None)
    assert again.finished_at is None


def test_an_id_stays_with_its_work(ledger: Ledger) -> None:
    ledger.begin_run("train", "k", {}, [], run_id="job-1")
    with pytest.raises(Busy, match="exists already"):
        ledger.begin_run("train", "other work", {}, [], run_id="job-1")
    ledger.finish_run("job-1", [made("model")], Footprint())
    with pytest.raises(Busy, match="exists already"):
        ledger.begin_run("train", "k", {}, [], run_id="job-1")


def test_finishing_twice_gives_what_was_made_the_first_time(ledger: Ledger) -> None:
    run = ledger.begin_run("train", "k", {}, [])
    first = ledger.finish_run(run.id, [made("model", digest="a")], COST)
    assert ledger.finish_run(run.id, [made("model", digest="b")], Footprint()) == first
    assert ledger.artifacts() == first
    assert ledger.run(run.id).footprint == COST


def test_a_run_that_failed_cannot_finish(ledger: Ledger) -> None:
    run = ledger.begin_run("train", "k", {}, [])
    ledger.fail_run(run.id, "stopped", Footprint(), status="cancelled")
    with pytest.raises(Busy, match="It is cancelled"):
        ledger.finish_run(run.id, [made("model")], Footprint())
    assert ledger.artifacts() == []


def test_a_run_that_finished_cannot_fail(ledger: Ledger) -> None:
    run = ledger.begin_run("train", "k", {}, [])
    ledger.finish_run(run.id, [made("model")], COST)
    ledger.fail_run(run.id, "too late", Footprint())
    assert ledger.run(run.id).status == "finished"


def test_a_run_with_an_unknown_input_is_not_begun(ledger: Ledger, make: Make) -> None:
    raw = make("raw")
    object.__setattr__(raw, "ref", Ref("raw", "docs", 9))
    with pytest.raises(NotFound, match="raw:docs has no version 9"):
        ledger.begin_run("curate", "k", {}, [raw])
    assert [run.stage for run in ledger.runs()] == ["make-raw"]
    with ledger.engine.connect() as connection:
        assert connection.execute(select(run_inputs)).all() == []


def test_pages_of_runs_are_the_last_begun_first(ledger: Ledger) -> None:
    ids = [ledger.begin_run("curate", f"k{n}", {}, []).id for n in range(3)]
    trained = ledger.begin_run("train", "t", {}, []).id
    ledger.fail_run(ids[0], "no", Footprint())
    assert [run.id for run in ledger.runs()] == [trained, *ids[::-1]]
    assert [run.id for run in ledger.runs(stage="curate", limit=2, offset=1)] == ids[1::-1]
    assert [run.id for run in ledger.runs(status="failed")] == [ids[0]]


def test_an_unknown_run_gives_the_nearest_ids(ledger: Ledger) -> None:
    ledger.begin_run("curate", "k", {}, [], run_id="curate-1234")
    with pytest.raises(NotFound, match="curate-1234"):
        ledger.run("curate-1243")
    with pytest.raises(NotFound):
        ledger.finish_run("curate-1243", [], Footprint())


def test_finishing_is_entered_in_the_audit_log_and_sealed(
    ledger: Ledger, make: Make, trust_folder: Path
) -> None:
    dataset = make("dataset", make("raw"), stage="curate")
    log = AuditLog(ledger.engine, trust_folder / "audit.head")
    entry = log.entries(limit=1)[0]
    assert (entry.action, entry.target) == ("run.finished", f"run:{dataset.run_id}")
    assert entry.detail["inputs"] == ["raw:docs@1"]
    assert entry.detail["outputs"] == {"dataset:docs@1": "d1"}
    report = log.verify()
    assert (report.entries, report.sealed_seq, report.unsealed) == (2, 2, 0)


def test_progress_is_what_was_said_last(ledger: Ledger) -> None:
    run = ledger.begin_run("train", "k", {}, [])
    assert ledger.progress(run.id) is None
    ledger.report_progress(run.id, 1, None, "steps", "warming up")
    ledger.report_progress(run.id, 2.5, 10, "steps")
    said = ledger.progress(run.id)
    assert said is not None
    assert (said.done, said.total, said.unit, said.note) == (2.5, 10.0, "steps", "")
    assert said.updated_at.tzinfo is not None


def test_events_come_back_in_order(ledger: Ledger) -> None:
    run = ledger.begin_run("train", "k", {}, [])
    for step in range(3):
        ledger.log_event(run.id, "metric", {"step": step, "loss": 1.0 / (step + 1)})
    ledger.log_event(run.id, "checkpoint", {"step": 3})
    assert [detail["step"] for _, _, detail in ledger.events(run.id, "metric")] == [0, 1, 2]
    assert [kind for _, kind, _ in ledger.events(run.id)] == ["metric"] * 3 + ["checkpoint"]
    at = ledger.events(run.id)[0][0]
    assert abs(at - datetime.now(UTC)) < timedelta(seconds=30)


def test_decisions_are_kept_with_their_reasons(ledger: Ledger) -> None:
    first = ledger.decide("release", "route:docs@1", "released", "better", {"p": 0.01}, "gate")
    second = ledger.decide("release", "route:docs@2", "refused", "not better", {}, "gate")
    third = ledger.decide("erase", "document:1", "erased", "asked to", {}, "ada")
    assert ledger.decisions() == [third, second, first]
    assert ledger.decisions(subject="route:docs@1") == [first]
    assert ledger.decisions(kind="release", limit=1) == [second]
    assert (first.evidence, first.reason, first.actor) == ({"p": 0.01}, "better", "gate")
