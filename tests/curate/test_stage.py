"""From the raw table to a dataset, in a real project."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from undercroft.collect.stage import collect
from undercroft.curate import groups, removed
from undercroft.curate.stage import curate
from undercroft.detect import language
from undercroft.errors import BadSource, StageFailed
from undercroft.lake import read_dataset
from undercroft.project import Project

Opened = Callable[..., Project]
PROSE = (
    "A context manager is an object that defines the runtime context to be established when "
    "executing a with statement. It handles the entry into, and the exit from, that context "
    "for the execution of the block of code, whatever error the block may raise."
)
OTHER = (
    "Generators are written like regular functions but use the yield statement whenever they "
    "want to return data. Each time next is called on it, the generator resumes where it left "
    "off and remembers all the data values and which statement was executed last."
)
TEXTS = {
    "prose": PROSE,
    "copy": PROSE,
    "nearly": f"{PROSE} More.",
    "short": "Too short.",
    "lines": "the very same line\n" * 30 + "and one that is another\n" * 2,
    "personal": f"{OTHER} Write to ada@lovelace.org or call +44 20 7946 0958.",
    "leaky": "Deploy with password=Tr0ub4dor&3x and AKIAIOSFODNN7QWERTYU in the environment of "
    "the service, then restart it and look at the log for what went wrong meanwhile.",
}


def test_a_dataset_says_what_it_kept_removed_and_masked(project: Opened) -> None:
    opened = project(TEXTS)
    (raw,) = collect(opened)
    (dataset,) = curate(opened, raw=raw)
    assert dataset.meta["documents"] == 7
    assert dataset.meta["kept"] == 3
    assert dataset.meta["removed"] == {
        "too_short": 1,
        "repeated_lines": 1,
        "near_duplicate": 1,
        "exact_duplicate": 1,
    }
    assert dataset.meta["masked"] == {"email": 1, "phone": 1, "password": 1, "aws key": 1}
    texts = {
        row["uri"].rpartition("#")[2]: row["text"]
        for row in read_dataset(opened.lake, dataset).to_pylist()
    }
    assert texts["personal"] == f"{OTHER} Write to [EMAIL] or call [PHONE].\n"
    assert "password=[PASSWORD] and [AWS KEY] in" in texts["leaky"]
    assert set(texts) == {"nearly", "personal", "leaky"}


def test_equal_values_get_equal_pseudonyms_that_only_this_project_gives(
    project: Opened, tmp_path: Path
) -> None:
    texts = {
        "one": f"{PROSE} Ada is at ada@lovelace.org or +44 20 7946 0958, bob@x.io is not.",
        "two": f"{OTHER} Call +44 (20) 7946-0958, or write to Ada@Lovelace.org.",
    }
    opened = project(texts, pseudonymise=True)
    (dataset,) = curate(opened, raw=collect(opened)[0])
    shown = read_dataset(opened.lake, dataset)["text"].to_pylist()
    codes = [re.findall(r"\[(\w+) ([0-9a-f]{8})\]", text) for text in shown]
    ((kind, ada), (_, phone), (_, bob)), *rest = codes
    assert kind == "EMAIL"
    assert rest == [[("PHONE", phone), ("EMAIL", ada)]]
    assert bob != ada
    assert dataset.meta["masked"] == {"email": 3, "phone": 2}
    other = Project.open(tmp_path)
    assert other.trust.vault.pseudonym("EMAIL", "ada@lovelaceorg") != ada


def test_documents_with_much_personal_data_can_be_removed_whole(project: Opened) -> None:
    opened = project(TEXTS, max_pii=1)
    (dataset,) = curate(opened, raw=collect(opened)[0])
    (gone,) = removed(opened, dataset, rule="personal_data")
    assert (gone.uri, gone.value) == ("docs.jsonl#personal", "2")


def test_an_edited_document_is_another_dataset_though_the_policy_says_the_same(
    project: Opened,
) -> None:
    opened = project({"one": PROSE, "two": OTHER})
    (first,) = curate(opened, raw=collect(opened)[0])
    opened = project({"one": PROSE, "two": OTHER.replace("yield", "field")})
    (second,) = curate(opened, raw=collect(opened)[0])
    assert second.digest != first.digest
    (again,) = curate(opened, raw=collect(opened)[0])
    assert again == second


def test_published_filters_apply_where_they_are_asked_for(project: Opened) -> None:
    said = [f"It is the {n}th sentence of a text with nothing to hide." for n in range(9)]
    texts = {
        "good": "\n".join(said),
        "code": "\n".join(reversed(said)) + "\nThis line has a { in it.",
        "brief": PROSE,
    }
    opened = project(texts, heuristics=["gopher_quality", "c4"])
    (dataset,) = curate(opened, raw=collect(opened)[0])
    found = {each.uri.rpartition("#")[2]: each for each in removed(opened, dataset)}
    assert {name: (each.rule, each.value) for name, each in found.items()} == {
        "code": ("c4.c4_banned", "1"),
        "brief": ("gopher_quality.spoken_words", "44"),
    }
    rows = opened.lake.table("documents").read(["measures"])["measures"].to_pylist()
    assert sorted(row["spoken_words"] for row in rows) == [44, 108, 114]


def test_every_removal_can_be_looked_at_with_its_reason(project: Opened) -> None:
    opened = project(TEXTS)
    (raw,) = collect(opened)
    (dataset,) = curate(opened, raw=raw)
    found = {each.uri.rpartition("#")[2]: each for each in removed(opened, dataset)}
    assert {name: each.rule for name, each in found.items()} == {
        "copy": "near_duplicate",
        "prose": "exact_duplicate",
        "short": "too_short",
        "lines": "repeated_lines",
    }
    assert found["short"].value == "11"
    assert found["copy"].original.endswith("#nearly")
    assert found["prose"].original.endswith("#copy")
    assert [r.uri for r in removed(opened, dataset, limit=2, offset=1)] == [
        r.uri for r in removed(opened, dataset)
    ][1:3]
    (only,) = removed(opened, dataset, rule="too_short")
    assert only.uri.endswith("#short")


def test_signals_are_kept_for_removed_documents_too(project: Opened) -> None:
    opened = project(TEXTS)
    (raw,) = collect(opened)
    (dataset,) = curate(opened, raw=raw)
    table = opened.lake.table("documents").read(version=dataset.meta["version"])
    rows = {row["uri"].rpartition("#")[2]: row for row in table.to_pylist()}
    assert set(rows) == set(TEXTS)
    assert rows["short"]["num_words"] == 2
    assert rows["prose"]["language"] == "en"
    assert rows["personal"]["num_pii"] == 2
    assert rows["leaky"]["num_secrets"] == 2
    finding = rows["personal"]["findings"][0]
    span = rows["personal"]["text"][finding["start"] : finding["end"]]
    assert (finding["kind"], span) == ("pii.email", "ada@lovelace.org")


def test_another_threshold_is_another_version_of_the_dataset(project: Opened) -> None:
    opened = project(TEXTS)
    (raw,) = collect(opened)
    (first,) = curate(opened, raw=raw)
    (second,) = curate(project(TEXTS, min_chars=5), raw=raw)
    assert second.ref.version == 2
    assert second.meta["policy"] != first.meta["policy"]
    assert second.meta["kept"] == first.meta["kept"] + 1
    assert read_dataset(opened.lake, first).num_rows == first.meta["kept"]


def test_languages_can_be_chosen(project: Opened) -> None:
    german = (
        "Ein Generator ist eine Funktion, die mit yield einen Wert nach dem anderen liefert. " * 2
    )
    opened = project({"en": PROSE, "de": german}, languages=["en"])
    (raw,) = collect(opened)
    (dataset,) = curate(opened, raw=raw)
    assert dataset.meta["removed"] == {"language": 1}


def test_a_policy_that_removes_everything_says_so(project: Opened) -> None:
    opened = project({"a": "short"})
    (raw,) = collect(opened)
    with pytest.raises(BadSource, match="1 too_short"):
        curate(opened, raw=raw)


def test_duplicate_removal_that_finds_nothing_fails_the_run(
    project: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = project(TEXTS)
    (raw,) = collect(opened)
    monkeypatch.setattr(groups, "NGRAM", 10**6)  # every text counts as too short
    with pytest.raises(StageFailed, match="planted near duplicate"):
        curate(opened, raw=raw)


def test_the_python_documentation_goes_the_whole_way_in_seconds(tmp_path: Path) -> None:
    opened = Project.open(tmp_path, {"collect.sources": ["python-docs"]})
    (raw,) = collect(opened)
    language("warm up the classifier, which loads once in a process")
    started = time.process_time()
    (dataset,) = curate(opened, raw=raw)
    assert time.process_time() - started < 20  # of this process, however busy the machine is
    assert dataset.meta["kept"] > 400
    assert dataset.meta["chars"] > 1_500_000
    assert set(dataset.meta["masked"]) == {"email"}
    assert dataset.meta["suspicious"] == 0
    assert set(dataset.meta["languages"]) == {"en"}
    assert curate(opened, raw=raw) == (dataset,)
