"""History, differences, restoring and proof, over datasets that curation really made."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.curate.test_stage import OTHER, PROSE
from undercroft.errors import BadInput, NotFound
from undercroft.govern.forget import forget
from undercroft.lake import read_dataset
from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.versions import diff, follow, in_use, log, restore, verify
from undercroft.versions.names import dataset_of

Made = Callable[..., tuple[Project, Artifact]]
FIRST = {"kept": PROSE, "edited": OTHER, "gone": OTHER.upper()[::-1], "short": "Too short."}
SECOND = {
    "kept": PROSE,
    "edited": OTHER.replace("yield", "field"),
    "new": PROSE[::-1],
    "short": "Short, but said in several words.",
}


def names(changes: object) -> dict[str, str]:
    assert isinstance(changes, tuple)
    return {each.uri.rpartition("#")[2]: each.change for each in changes}


def test_a_difference_names_what_came_went_changed_and_met_another_verdict(made: Made) -> None:
    _, first = made(FIRST)
    project, second = made(SECOND, min_chars=20)
    found = diff(project, first, second)
    assert names(found.changes) == {
        "edited": "edited",
        "gone": "gone",
        "new": "added",
        "short": "admitted",
    }
    assert found.counts == {"edited": 1, "gone": 1, "added": 1, "admitted": 1}
    assert found.removed == {"too_short": (1, 0)}
    assert found.policy == {"too_short": ("num_chars < 80", "num_chars < 20")}
    assert found.statistics["kept"] == (3, 4)
    assert list(found.sources.values()) == [(3, 4)]
    back = diff(project, second, first)
    assert back.counts == {"edited": 1, "added": 1, "gone": 1, "removed": 1}
    assert {each.rule for each in back.changes if each.change == "removed"} == {"too_short"}


def test_a_version_does_not_differ_from_itself(made: Made) -> None:
    project, dataset = made(FIRST)
    found = diff(project, dataset, dataset)
    assert not any((found.counts, found.removed, found.policy, found.statistics, found.changes))


def test_the_log_says_which_version_is_in_use_and_why(made: Made) -> None:
    _, first = made(FIRST)
    project, second = made(SECOND)
    project.ledger.set_alias(first.ref, "golden", "test")
    assert [v.ref for v in log(project, first.name)] == [str(second.ref), str(first.ref)]
    assert [v.in_use for v in log(project, first.name)] == [True, False]
    restore(project, dataset_of(project, f"{first.name}@golden"), "the new source is bad")
    newest, oldest = log(project, first.name)
    assert (newest.in_use, oldest.in_use, oldest.restored) == (False, True, True)
    assert oldest.tags == ("golden",)
    assert oldest.raw == "raw:project@1"
    assert in_use(project, second) == first
    assert len(read_dataset(project.lake, in_use(project, second))) == 3
    follow(project, first.name, "mended")
    assert in_use(project, second) == second


def test_what_is_no_dataset_is_refused_with_what_to_do(made: Made) -> None:
    project, dataset = made(FIRST)
    assert dataset_of(project, "") == dataset_of(project, f"{dataset.name}@1") == dataset
    with pytest.raises(NotFound, match="nearest"):
        dataset_of(project, "projcet")
    with pytest.raises(BadInput, match="data ls"):
        dataset_of(project, "raw:project@1")


def test_an_untouched_version_is_intact_also_after_newer_ones(made: Made) -> None:
    _, first = made(FIRST)
    project, second = made(SECOND)
    told: list[tuple[int, int]] = []
    for version in (first, second):
        found = verify(project, version, lambda done, total: told.append((done, total)))
        assert found.intact
        assert found.rows == 4
    assert told.count((4, 4)) == 2


def test_an_erased_row_is_no_damage_and_is_told_from_a_vanished_one(made: Made) -> None:
    project, dataset = made(FIRST)
    documents = project.lake.table("documents")
    ids = dict(zip(*documents.read(["uri", "id"]).to_pydict().values(), strict=True))
    gone = next(id_ for uri, id_ in ids.items() if uri.endswith("#gone"))
    kept = next(id_ for uri, id_ in ids.items() if uri.endswith("#kept"))
    forget(project, gone, reason="asked for")
    found = verify(project, dataset)
    assert found.intact
    assert found.erased == [gone]
    documents.purge(f"id = '{kept}'")
    found = verify(project, dataset)
    assert not found.intact
    assert (found.missing, found.erased) == ([kept], [gone])


def test_a_flipped_byte_anywhere_is_found(made: Made) -> None:
    project, dataset = made(FIRST)
    table = Path(project.lake.table("documents").uri)
    files = [table / name for name in dataset.meta["files"]]
    files.append(project.path(dataset) / "selection.parquet")
    draw = random.Random(20)
    for file in files:
        whole = file.read_bytes()
        file.chmod(0o644)
        for at in draw.sample(range(len(whole)), 40):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
            assert not verify(project, dataset).intact, (file.name, at)
        file.write_bytes(whole)
    assert verify(project, dataset).intact


def test_merging_files_is_no_damage_and_a_changed_row_is_found_in_them(made: Made) -> None:
    made(FIRST)
    project, dataset = made(SECOND)
    documents = project.lake.table("documents")
    documents.maintain(timedelta(0))
    assert verify(project, dataset).intact
    rows = documents.read()
    texts = [text.replace("field", "yield") for text in rows["text"].to_pylist()]
    changed = rows.set_column(rows.column_names.index("text"), "text", [texts])
    tampered = documents.overwrite(changed.cast(rows.schema))
    found = verify(project, replace(dataset, meta={**dataset.meta, "version": tampered}))
    assert len(found.damaged) == 1
    assert not found.missing
