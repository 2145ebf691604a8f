"""For each document the one nearest in meaning, by vectors that are kept."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from undercroft.collect.stage import collect
from undercroft.curate import meanings, removed
from undercroft.curate.stage import curate
from undercroft.lake import read_selection
from undercroft.project import Project
from undercroft.retrieve import Embedder

Opened = Callable[..., Project]
TEXTS = {
    "cats": "The cat slept on the warm window sill all afternoon, and woke only when the children "
    "came home from school and wanted to play with her in the garden behind the house.",
    "kittens": "A kitten dozed for hours on the sunny ledge of the window, until the kids got back "
    "from school and asked her to play outside in the yard at the back of their home.",
    "rates": "The central bank raised its interest rate by half a point on Thursday, the third "
    "time this year, as inflation in the euro area stayed well above its target of two per cent.",
}


def made(project: Project) -> dict[str, tuple[str, float]]:
    """Of every document with one before it: the nearest, and the cosine; by name."""
    (dataset,) = curate(project, raw=collect(project)[0])
    rows = project.lake.table("documents").read(["id", "uri"]).to_pylist()
    names = {row["id"]: row["uri"].rpartition("#")[2] for row in rows}
    found = read_selection(project.lake, dataset).to_pylist()
    return {
        names[row["id"]]: (names[row["semantic_duplicate_of"]], row["semantic_cosine"])
        for row in found
        if row["semantic_duplicate_of"]
    }


def test_what_says_the_same_in_other_words_is_nearest(project: Opened) -> None:
    found = made(project(TEXTS, semantics=True))
    assert {name: near for name, (near, _) in found.items()} == {"cats": "rates", "kittens": "cats"}
    assert found["kittens"][1] > 0.7 > found["cats"][1]


def test_without_being_asked_nothing_is_embedded(project: Opened) -> None:
    opened = project(TEXTS)
    assert made(opened) == {}
    assert not opened.lake.table("meanings").exists()


def test_over_the_limit_one_of_them_goes_and_says_for_whom(project: Opened) -> None:
    opened = project(TEXTS, semantics=True, max_semantic_cosine=0.7)
    (dataset,) = curate(opened, raw=collect(opened)[0])
    assert dataset.meta["removed"] == {"semantic_duplicate": 1}
    (gone,) = removed(opened, dataset)
    assert gone.uri.endswith("#kittens")
    assert gone.original.endswith("#cats")


def test_only_new_texts_are_embedded_and_gone_ones_forgotten(
    project: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(project(TEXTS, semantics=True))
    embedded: list[str] = []
    encode = Embedder.encode
    monkeypatch.setattr(Embedder, "encode", lambda s, t: embedded.extend(t) or encode(s, t))
    texts = {**TEXTS, "rates": TEXTS["rates"].replace("third", "fourth")}
    del texts["kittens"]
    opened = project(texts, semantics=True)
    assert set(made(opened)) <= {"cats", "rates"}
    assert len(embedded) == 1
    assert opened.lake.table("meanings").count() == 2


def test_clusters_find_what_all_pairs_find_of_what_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(40, 32)).astype(np.float32)
    vectors = np.repeat(centres, 10, axis=0) + draw.normal(size=(400, 32), scale=0.05)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    vectors[7] = 0
    ranks = draw.permutation(400)
    all_pairs, cosines = meanings.find_nearest(vectors, ranks)
    likeness = np.where(ranks[None, :] < ranks[:, None], vectors @ vectors.T, -2.0)
    likeness[:, 7] = -2.0
    likeness[7] = -2.0
    has_one = likeness.max(axis=1) > -2
    assert (all_pairs >= 0).tolist() == has_one.tolist()
    found = likeness[np.arange(400), all_pairs]
    assert np.allclose(found[has_one], likeness.max(axis=1)[has_one], atol=1e-6)
    monkeypatch.setattr(meanings, "MOST_AT_ONCE", 100)
    monkeypatch.setattr(meanings, "_CLUSTER", 50)
    in_clusters, _ = meanings.find_nearest(vectors, ranks)
    is_near = cosines > 0.9
    found = likeness[np.arange(400), in_clusters]
    assert (found[is_near] > 0.9).mean() > 0.95
