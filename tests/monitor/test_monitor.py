"""Traffic as it was recorded: pages, traces, opinions, the last minutes."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from undercroft import monitor
from undercroft.errors import NotFound, Tampered
from undercroft.lake import schemas
from undercroft.project import Project

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture
def project(tmp_path):
    (tmp_path / "undercroft.toml").write_text('[project]\nname = "docs"\n')
    return Project.open(tmp_path)


def record(project, number, minutes_ago=1.0, subject="ada", **changes):
    """Write one request as the gateway does."""
    name = f"ans-{number:020d}"
    seal = project.trust.vault.seal
    row = {
        "id": name, "at": NOW - timedelta(minutes=minutes_ago), "key": "key-1", "subject": subject,
        "route": "route:docs@1", "model": "model:docs@1", "kind": "chat",
        "question_sealed": seal(subject, b"Why?", f"question:{name}".encode()),
        "answer_sealed": seal(subject, b"So [1].", f"answer:{name}".encode()),
        "passages": [{"id": "c1", "document": "d1", "uri": "file:///a", "title": "A", "start": 3,
                      "end": 9, "score": 0.5}],
        "findings": [{"kind": "pii.email", "start": 0, "end": 4, "score": 1.0, "rule": "email"}],
        "status": "ok", "finish_reason": "stop", "cached": False, "degraded": "", "queue_ms": 1.0,
        "retrieve_ms": 2.0, "ttft_ms": 10.0, "total_ms": 100.0, "prompt_tokens": 5,
        "completion_tokens": 7, "cost": 0.25, "energy_wh": 0.5, **changes,
    }  # fmt: skip
    project.lake.table("requests").upsert(pa.Table.from_pylist([row], schemas.REQUESTS))
    return name


def rate(project, answer, rating, comment=b"", minutes_ago=0.5, subject="ada"):
    name = f"fb-{answer}-{rating}"
    sealed = project.trust.vault.seal(subject, comment, f"comment:{name}".encode())
    row = {
        "id": name, "answer": answer, "at": NOW - timedelta(minutes=minutes_ago), "key": "key-1",
        "rating": rating, "comment_sealed": sealed if comment else b"", "subject": subject,
    }  # fmt: skip
    project.lake.table("feedback").upsert(pa.Table.from_pylist([row], schemas.FEEDBACK))


def test_nothing_yet_is_not_an_error(project):
    assert monitor.requests(project) == []
    assert monitor.feedback_summary(project).up == 0
    assert monitor.overview(project).requests == 0
    with pytest.raises(NotFound):
        monitor.answer(project, "ans-1")


def test_requests_come_in_pages_newest_first(project):
    names = [record(project, number, minutes_ago=number) for number in (3, 1, 2)]
    newest_first = [names[1], names[2], names[0]]
    assert [r.id for r in monitor.requests(project)] == newest_first
    assert [r.id for r in monitor.requests(project, limit=1, offset=1)] == newest_first[1:2]
    assert monitor.requests(project, where="status = 'error'") == []


def test_an_answer_can_be_traced_to_all_it_came_of(project):
    name = record(project, 1, degraded="retrieval,retried")
    rate(project, name, -1, b"wrong")
    trace = monitor.answer(project, name)
    assert (trace.question, trace.answer) == ("Why?", "So [1].")
    assert trace.passages[0].document == "d1"
    assert trace.findings[0].kind == "pii.email"
    assert trace.summary.model == "model:docs@1"
    assert trace.summary.degraded == ("retrieval", "retried")
    assert [(o.rating, o.comment) for o in trace.feedback] == [(-1, "wrong")]


def test_an_unknown_answer_names_the_nearest(project):
    name = record(project, 12)
    with pytest.raises(NotFound) as error:
        monitor.answer(project, name[:-1] + "3")
    assert name in str(error.value)


def test_of_a_person_whose_key_was_destroyed_only_the_numbers_remain(project):
    name = record(project, 1)
    project.trust.vault.shred("ada")
    trace = monitor.answer(project, name)
    assert (trace.question, trace.answer) == (None, None)
    assert trace.summary.completion_tokens == 7


def test_a_sealed_answer_moved_to_another_row_is_noticed(project):
    name = record(project, 1)
    other = project.trust.vault.seal("ada", b"forged", b"answer:elsewhere")
    record(project, 1, answer_sealed=other)
    with pytest.raises(Tampered):
        monitor.answer(project, name)


def test_feedback_is_counted_and_the_newest_opened(project):
    names = [record(project, number) for number in range(4)]
    rate(project, names[0], 1)
    rate(project, names[1], -1, b"no", minutes_ago=0.1)
    summary = monitor.feedback_summary(project)
    assert (summary.up, summary.down, summary.comments) == (1, 1, 1)
    assert summary.rated_share == 0.5
    assert [o.comment for o in summary.newest] == ["no", ""]


def test_the_overview_is_of_the_last_minutes_only(project):
    for number in range(100):
        record(project, number, total_ms=float(number + 1), ttft_ms=float(number + 1) / 2)
    record(project, 200, status="error")
    record(project, 201, cached=True, total_ms=0.1)
    record(project, 202, minutes_ago=90)
    rate(project, "ans-x", 1)
    rate(project, "ans-y", -1, minutes_ago=90)
    seen = monitor.overview(project, minutes=60, now=NOW)
    assert seen.requests == 102
    assert (seen.failed, seen.cached) == (1, 1)
    assert (seen.total_ms_p50, seen.total_ms_p99) == (50.0, 99.0)
    assert (seen.ttft_ms_p50, seen.ttft_ms_p99) == (25.0, 49.5)
    assert seen.completion_tokens == 7 * 102
    assert (seen.thumbs_up, seen.thumbs_down) == (1, 0)
