"""What was asked and answered becomes documents: with consent, for the person it is of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from undercroft.collect.consent import decide
from undercroft.collect.stage import collect, read_payload
from undercroft.errors import BadSource
from undercroft.lake import schemas

NOW = datetime.now(UTC)


@pytest.fixture
def traffic(project, tmp_path):
    """A project with one file and its own traffic as sources."""
    root = tmp_path / "project"
    (root / "a.md").write_text("# A\n\nSomething written by hand.")
    return project("a.md", "traffic:")


def ask(project, number, subject="ada", consent="store", days_ago=0.0, status="ok"):
    name = f"ans-{number}"
    seal = project.trust.vault.seal
    row = {
        "id": name, "at": NOW - timedelta(days=days_ago), "subject": subject, "kind": "chat",
        "question_sealed": seal(subject, b"Why is it so?", f"question:{name}".encode()),
        "answer_sealed": seal(subject, b"Because it is.", f"answer:{name}".encode()),
        "status": status, "consent": consent,
    }  # fmt: skip
    project.lake.table("requests").upsert(pa.Table.from_pylist([row], schemas.REQUESTS))


def rate(project, number, rating, comment=""):
    name, answer = f"fb-{number}", f"ans-{number}"
    sealed = project.trust.vault.seal("ada", comment.encode(), f"comment:{name}".encode())
    row = {"id": name, "answer": answer, "at": NOW, "rating": rating, "subject": "ada",
           "comment_sealed": sealed if comment else b""}  # fmt: skip
    project.lake.table("feedback").upsert(pa.Table.from_pylist([row], schemas.FEEDBACK))


def collected(project, source="traffic:"):
    """The addresses that came of the traffic."""
    (artifact,) = collect(project)
    table, version = project.table(artifact)
    rows = table.read(version=version).to_pylist()
    return {row["uri"]: row for row in rows if row["source"] == source}


def test_only_what_was_agreed_to_is_taken(traffic):
    ask(traffic, 1)
    ask(traffic, 2, consent="")
    ask(traffic, 3, status="error")
    found = collected(traffic)
    assert list(found) == ["traffic:ans-1"]
    row = found["traffic:ans-1"]
    assert (row["consent"], row["subject"], row["licence"]) == ("store", "ada", "own-traffic")
    assert "Why" not in row["title"]
    assert b"Why" not in row["payload"]
    assert b"Why is it so?" in read_payload(traffic, row["id"])


def test_an_opinion_that_comes_later_changes_its_document_alone(traffic):
    ask(traffic, 1)
    ask(traffic, 2)
    before = collected(traffic)
    rate(traffic, 1, 1, "just what I wanted")
    after = collected(traffic)
    changed = [uri for uri in after if after[uri]["sha256"] != before[uri]["sha256"]]
    assert changed == ["traffic:ans-1"]
    assert b"liked. just what I wanted" in read_payload(traffic, after["traffic:ans-1"]["id"])


def test_consent_taken_back_takes_everything_back_until_given_again(traffic):
    ask(traffic, 1)
    ask(traffic, 2, subject="bob")
    assert len(collected(traffic)) == 2
    decide(traffic, "ada", "withdrawn", "asked by letter")
    assert list(collected(traffic)) == ["traffic:ans-2"]
    decide(traffic, "ada", "given", "asked again")
    assert len(collected(traffic)) == 2


def test_a_destroyed_key_takes_its_documents_along(traffic):
    ask(traffic, 1)
    ask(traffic, 2, subject="bob")
    collected(traffic)
    traffic.trust.vault.shred("ada")
    assert list(collected(traffic)) == ["traffic:ans-2"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [("traffic:?rating=up", ["traffic:ans-1"]), ("traffic:?days=30", ["traffic:ans-1"])],
)
def test_a_part_can_be_asked_for(project, tmp_path, spec, expected):
    (tmp_path / "project" / "a.md").write_text("# A\n\nSomething written by hand.")
    opened = project("a.md", spec)
    ask(opened, 1)
    ask(opened, 2, days_ago=60)
    rate(opened, 1, 1)
    rate(opened, 2, -1)
    assert list(collected(opened, spec)) == expected


def test_an_option_that_means_nothing_is_refused(project, tmp_path):
    (tmp_path / "project" / "a.md").write_text("# A\n\nSomething written by hand.")
    with pytest.raises(BadSource, match="stars"):
        collected(project("a.md", "traffic:?stars=5"))
