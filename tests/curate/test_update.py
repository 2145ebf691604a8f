"""New data costs its own work, and gives what doing everything again would give."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.curate.test_duplicates import edited, essay, reader
from undercroft.collect.stage import collect
from undercroft.curate import documents, duplicates, removed, update
from undercroft.curate.duplicates import Before, Found, Near
from undercroft.curate.groups import Corpus
from undercroft.curate.stage import curate
from undercroft.errors import Cancelled
from undercroft.lake import read_selection
from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.stage import StageRun

Opened = Callable[..., Project]


def made(opened: Project) -> Artifact:
    (raw,) = collect(opened)
    return curate(opened, raw=raw)[0]


def told(opened: Project, dataset: Artifact) -> list[dict[str, Any]]:
    """The selection without what depends on the code alone."""
    return read_selection(opened.lake, dataset).to_pylist()


FAMILY = {f"f{n}": edited(essay(1), n, seed=n) for n in range(4)}
OTHERS = {f"o{n}": essay(100 + n) for n in range(4)}


def test_only_what_is_new_is_read(project: Opened) -> None:
    first = made(project({**FAMILY, **OTHERS}))
    assert (first.meta["made"], first.meta["compared"]) == (8, 6)  # two of them are planted
    second = made(project({**FAMILY, **OTHERS, "new": essay(200)}))
    assert (second.meta["made"], second.meta["compared"]) == (1, 2)
    changed = {**OTHERS, "o0": essay(300)}
    third = made(project({**FAMILY, **changed, "new": essay(200)}))
    assert (third.meta["made"], third.meta["compared"]) == (1, 2)


def test_a_new_original_takes_the_place_of_the_old_one(project: Opened) -> None:
    text = essay(7)
    opened = project({"short": edited(text, 1), "long": text + " and more"})
    assert {each.uri: each.original for each in removed(opened, made(opened))} == {
        "docs.jsonl#short": "docs.jsonl#long"
    }
    opened = project(
        {"short": edited(text, 1), "long": text + " and more", "longest": text + " and some more"}
    )
    assert {each.uri: each.original for each in removed(opened, made(opened))} == {
        "docs.jsonl#short": "docs.jsonl#longest",
        "docs.jsonl#long": "docs.jsonl#longest",
    }
    opened = project({"short": edited(text, 1)})
    assert removed(opened, made(opened)) == []


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000))
def test_any_series_of_changes_ends_as_if_all_were_done_at_once(seed: int) -> None:
    rng = random.Random(seed)
    texts: dict[str, str] = {}
    before: Before = {}
    for _ in range(5):
        for name in rng.sample(sorted(texts), min(len(texts), rng.randrange(3))):
            del texts[name]
        for _ in range(rng.randrange(1, 6)):
            name = f"d{rng.randrange(20)}"
            texts[name] = edited(essay(rng.randrange(4), 120), rng.randrange(8), rng.randrange(3))
        found = near(texts, before)
        whole = near(texts, {})
        assert found.near == whole.near
        before = remembered(texts, found)
    assert near(texts, before).num_read == 0


def near(texts: Mapping[str, str], before: Before) -> Found:
    corpus = Corpus.of(dict(texts))
    out = duplicates.exact(corpus) >= 0
    return duplicates.near(corpus, reader(dict(texts)), 0.8, out, before)


def remembered(texts: Mapping[str, str], found: Found) -> Before:
    ids = Corpus.of(dict(texts)).ids.tolist()
    grouped = np.flatnonzero(found.groups.sizes() > 1).tolist()
    prints = found.groups.fingerprints.tolist()
    return {
        ids[n]: (
            prints[n],
            Near(ids[at.original], at.jaccard, at.containment)
            if (at := found.near.get(n))
            else None,
        )
        for n in grouped
    }


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3000))
def test_pieces_of_any_size_find_the_same(seed: int, size: int) -> None:
    rng = random.Random(seed)
    texts = {
        f"d{n}": edited(essay(rng.randrange(3), 120), rng.randrange(9), rng.randrange(4))
        for n in range(20)
    }
    whole = near(texts, {}).near
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "_CHUNK_CHARS", size)
        assert near(texts, {}).near == whole


def test_a_series_of_datasets_is_what_a_fresh_project_makes(
    project: Opened, tmp_path: Path
) -> None:
    opened = project({**FAMILY, **OTHERS})
    made(opened)
    final = {**OTHERS, "f1": FAMILY["f1"], "f3": FAMILY["f3"] + " more", "o9": OTHERS["o1"]}
    opened = project(final)
    dataset = made(opened)
    (tmp_path / "fresh").mkdir()
    lines = [json.dumps({"id": name, "text": text}) for name, text in final.items()]
    (tmp_path / "fresh" / "docs.jsonl").write_text("\n".join(lines))
    fresh = Project.open(tmp_path / "fresh", {"collect.sources": ["docs.jsonl"]})
    anew = made(fresh)
    assert told(opened, dataset) == told(fresh, anew)
    assert dataset.digest == anew.digest
    rows = [
        table.read(version=dataset.meta["version"]).sort_by("id")
        for opened, dataset in ((opened, dataset), (fresh, anew))
        for table in (opened.lake.table("documents"),)
    ]
    assert rows[0].equals(rows[1])


def test_a_run_that_was_stopped_goes_on_where_it_was(
    project: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = project({**FAMILY, **OTHERS})
    (raw,) = collect(opened)
    monkeypatch.setattr(update, "_COMMIT_ROWS", 1)
    monkeypatch.setattr(update, "_TASK_ROWS", 2)
    monkeypatch.setattr(update, "_TASK_BYTES", 2)
    progress = StageRun.progress

    def stopping(self: StageRun, done: float, *rest: Any) -> None:
        if done >= 3:
            raise Cancelled("Stopped on request.")
        progress(self, done, *rest)

    monkeypatch.setattr(StageRun, "progress", stopping)
    with pytest.raises(Cancelled):
        curate(opened, raw=raw)
    monkeypatch.setattr(StageRun, "progress", progress)
    (dataset,) = curate(opened, raw=raw)
    assert 0 < dataset.meta["made"] <= 5
    assert dataset.meta["documents"] == 8


def test_a_document_that_cannot_be_read_is_kept_with_its_reason(
    project: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fussy(payload: bytes, mime: str) -> str:
        if b"poison" in payload:
            raise ValueError("not this one")
        return payload.decode()

    monkeypatch.setattr(documents, "text_of", fussy)
    opened = project({**OTHERS, "bad": "poison " + essay(9)})
    dataset = made(opened)
    assert dataset.meta["removed"] == {"quarantined": 1}
    (gone,) = removed(opened, dataset)
    assert gone.uri.endswith("#bad")
    assert gone.value == "error: ValueError: not this one"


def test_rows_do_not_depend_on_what_they_are_made_with() -> None:
    columns = {**dict.fromkeys(documents.TAKEN_OVER, "x"), "mime": "text/plain"}
    batch = [
        documents.Raw(columns, text.encode(), b"0123456789abcdef")
        for text in {**FAMILY, **OTHERS}.values()
    ]
    whole = documents.document_rows(batch, documents.Wanted())
    parts = [documents.document_rows([each], documents.Wanted()) for each in batch]
    assert pa.concat_tables(parts).equals(whole)
