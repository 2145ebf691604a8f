"""Artifacts, refs and aliases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy
import pytest

from tests.ledger.conftest import Make, made
from undercroft.errors import BadInput, BadRef, NotFound
from undercroft.ledger import Ledger, MadeArtifact
from undercroft.records import Footprint, Ref
from undercroft.trust import AuditLog


def test_an_artifact_reads_back_as_it_was_made(ledger: Ledger) -> None:
    run = ledger.begin_run("curate", "k", {}, [])
    (artifact,) = ledger.finish_run(run.id, [made()], Footprint())
    assert artifact == ledger.artifact("dataset:docs@1")
    assert artifact.ref == Ref("dataset", "docs", 1)
    assert (artifact.digest, artifact.uri, artifact.size_bytes) == ("d1", "blob:dataset/d1", 10)
    assert artifact.meta == {"documents": 3}
    assert artifact.run_id == run.id
    assert abs(artifact.created_at - datetime.now(UTC)) < timedelta(seconds=30)


def test_a_ref_without_a_version_means_the_newest(ledger: Ledger, make: Make) -> None:
    make("dataset")
    second = make("dataset")
    make("dataset", name="other")
    assert ledger.artifact("dataset:docs") == second
    assert ledger.artifact(Ref("dataset", "docs")) == second
    assert second.ref.version == 2


def test_every_run_makes_a_new_version_even_of_the_same_content(ledger: Ledger, make: Make) -> None:
    first, second = make("dataset"), make("dataset")
    assert first.digest == second.digest
    assert [artifact.ref.version for artifact in (first, second)] == [1, 2]
    assert ledger.find_digest("d1") == [second, first]


def test_pages_of_artifacts_are_newest_first(ledger: Ledger, make: Make) -> None:
    made_in_order = [make("dataset") for _ in range(3)] + [make("model")]
    newest_first = made_in_order[::-1]
    assert ledger.artifacts() == newest_first
    assert ledger.artifacts("dataset") == newest_first[1:]
    assert ledger.artifacts("dataset", "docs", limit=1, offset=1) == [newest_first[2]]
    assert ledger.artifacts("dataset", "nothing") == []


def test_an_alias_follows_what_it_was_set_to(ledger: Ledger, make: Make) -> None:
    make("route")
    make("route")
    ledger.set_alias(Ref("route", "docs", 1), "live", "ada")
    assert ledger.artifact("route:docs@live").ref.version == 1
    ledger.set_alias(Ref("route", "docs", 2), "live", "ada")
    assert ledger.artifact("route:docs@live").ref.version == 2
    assert ledger.aliases("route", "docs") == {"live": 2}
    assert ledger.aliases("route", "other") == {}


def test_setting_an_alias_is_entered_in_the_audit_log(
    ledger: Ledger, make: Make, trust_folder: Path
) -> None:
    make("route")
    ledger.set_alias(Ref("route", "docs", 1), "live", "ada")
    log = AuditLog(ledger.engine, trust_folder / "audit.head")
    entry = log.entries(limit=1)[0]
    assert (entry.actor, entry.action, entry.target) == ("ada", "alias.set", "route:docs@1")
    assert log.verify().unsealed == 0


@pytest.mark.parametrize("alias", ["3", "two words", "", "a@b"])
def test_an_alias_that_could_not_be_read_back_is_refused(
    ledger: Ledger, make: Make, alias: str
) -> None:
    make("route")
    with pytest.raises(BadInput):
        ledger.set_alias(Ref("route", "docs", 1), alias, "ada")
    assert ledger.aliases("route", "docs") == {}


def test_a_wrong_name_gives_the_nearest_names(ledger: Ledger, make: Make) -> None:
    make("dataset", name="python-docs")
    with pytest.raises(NotFound, match="dataset:python-docs"):
        ledger.artifact("dataset:pyton-docs")
    with pytest.raises(NotFound, match=r"has no version 7\. Its newest is dataset:python-docs@1"):
        ledger.artifact("dataset:python-docs@7")
    ledger.set_alias("dataset:python-docs", "live", "ada")
    with pytest.raises(NotFound, match="dataset:python-docs@live"):
        ledger.artifact("dataset:python-docs@liev")


def test_what_is_no_ref_says_what_a_ref_looks_like(ledger: Ledger) -> None:
    with pytest.raises(BadRef, match="kind:name@version"):
        ledger.artifact("docs")


@pytest.mark.parametrize(("kind", "name"), [("thing", "docs"), ("model", "Docs"), ("model", "a@1")])
def test_what_no_ref_could_name_is_not_made(ledger: Ledger, kind: str, name: str) -> None:
    run = ledger.begin_run("train", "k", {}, [])
    with pytest.raises(BadInput):
        ledger.finish_run(run.id, [made("dataset"), made(kind, name)], Footprint())
    assert ledger.artifacts() == []
    assert ledger.run(run.id).status == "running"


def test_meta_is_kept_in_plain_json_whatever_numbers_it_came_in(ledger: Ledger) -> None:
    meta = {
        "f1": numpy.float32(0.5),
        "cases": numpy.int64(7),
        "perplexity": float("nan"),
        "path": Path("a/b"),
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        "pair": (1, 2),
        "text": "NUL \x00, half a pair \ud800, é, 🦉",
    }
    run = ledger.begin_run("evaluate", "k", {}, [])
    item = MadeArtifact("scorecard", "docs", "d", "blob:d", 1, meta)
    (returned,) = ledger.finish_run(run.id, [item], Footprint())
    stored = ledger.artifact("scorecard:docs")
    assert stored.meta == {
        "f1": 0.5,
        "cases": 7,
        "perplexity": None,
        "path": "a/b",
        "at": "2026-01-02T00:00:00+00:00",
        "pair": [1, 2],
        "text": "NUL \x00, half a pair \ud800, é, 🦉",
    }
    assert returned == stored


def test_what_json_cannot_say_is_refused_by_name(ledger: Ledger) -> None:
    with pytest.raises(BadInput, match="A object cannot be kept"):
        ledger.begin_run("train", "k", {"optimizer": object()}, [])
