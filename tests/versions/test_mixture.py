"""How much of which group a mixture takes, and which documents."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.versions.test_composition import text
from undercroft.cli.main import group as undercroft
from undercroft.collect.stage import collect
from undercroft.curate.stage import curate
from undercroft.errors import BadInput, NotFound
from undercroft.lake import read_dataset
from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.settings import MixtureSettings
from undercroft.versions import mixture as module
from undercroft.versions.export import export
from undercroft.versions.mixture import Mixture, adjusted, mixture
from undercroft.versions.sampling import base_keys, budgets, draw, shares

Made = tuple[Project, Artifact]
SIZES = {"large.jsonl": 96, "middle.jsonl": 24, "small.jsonl": 6}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A dataset of three sources, the second a quarter of the first, the third of the second."""
    root = tmp_path_factory.mktemp("mixed")
    number = 0
    for name, count in SIZES.items():
        rows = [{"id": str(n), "text": text(n)} for n in range(number, number + count)]
        rows[0]["text"] += " Write to ada@lovelace.org, who knows."
        (root / name).write_text("\n".join(map(json.dumps, rows)))
        number += count
    purposes = {"personal": {"where": "num_pii > 0", "columns": ["uri", "text"]}}
    opened = Project.open(root, {"collect.sources": list(SIZES), "curate.purposes": purposes})
    (dataset,) = curate(opened, raw=collect(opened)[0])
    return opened, dataset


def mixed(made: Made, **changes: Any) -> Mixture:
    return mixture(*made, MixtureSettings(**changes)).mixture


def by_name(found: Mixture, what: str) -> dict[str, Any]:
    return {part.name: getattr(part, what) for part in found.parts}


def run(made: Made, *words: str) -> Result:
    return CliRunner().invoke(undercroft, ["-C", str(made[0].root), "data", *words])


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return [
        row for file in sorted(folder.glob("data/*")) for row in pq.read_table(file).to_pylist()
    ]


# --- shares ------------------------------------------------------------------------------------


def test_temperature_one_is_every_document_once(made: Made) -> None:
    found = mixed(made)
    assert found.rows == found.documents == 126
    assert by_name(found, "rows") == SIZES
    assert by_name(found, "share") == by_name(found, "natural")


def test_temperature_raises_shares_to_its_inverse_power(made: Made) -> None:
    """At 2, sizes of 16 to 4 to 1 become shares of 4 to 2 to 1."""
    found = mixed(made, temperature=2)
    asked = list(by_name(found, "asked").values())
    assert asked == pytest.approx([4 / 7, 2 / 7, 1 / 7], rel=0.03)
    assert sum(asked) == pytest.approx(1)
    assert by_name(found, "epochs")["middle.jsonl"] == pytest.approx(1.5, rel=0.1)


def test_a_capped_group_gives_all_it_can_and_others_the_rest_in_proportion(made: Made) -> None:
    found = mixed(made, temperature=1e9, max_epochs=2)
    assert by_name(found, "is_capped") == {
        "large.jsonl": False, "middle.jsonl": True, "small.jsonl": True,
    }  # fmt: skip
    assert by_name(found, "rows") == {"large.jsonl": 66, "middle.jsonl": 48, "small.jsonl": 12}
    assert sum(by_name(found, "share").values()) == pytest.approx(1)
    assert not found.is_short


def test_more_than_all_can_give_is_said_to_be_short(made: Made) -> None:
    found = mixed(made, chars=10**9, max_epochs=3)
    assert found.rows == 3 * 126
    assert found.is_short
    assert "no group can give more" in run(made, "mix", "--chars", "1000000000").output


def test_weights_multiply_shares_and_zero_leaves_a_group_out(made: Made) -> None:
    found = mixed(made, weights={"large.jsonl": 0, "small.jsonl": 4}, chars=1500)
    assert by_name(found, "asked")["large.jsonl"] == by_name(found, "rows")["large.jsonl"] == 0
    asked = by_name(found, "asked")
    assert asked["small.jsonl"] == pytest.approx(asked["middle.jsonl"], rel=0.1)


def test_what_comes_out_is_near_what_was_asked(made: Made) -> None:
    """No group is off by more than half of its longest document."""
    found = mixed(made, temperature=3, chars=9000)
    for part in found.parts:
        assert abs(part.rows_chars - part.asked * 9000) <= 150 / 2


@pytest.mark.parametrize("by", ["source", "language", "licence", "domain"])
def test_sizes_are_of_the_text_that_is_written(made: Made, by: Any) -> None:
    project, dataset = made
    written = read_dataset(project.lake, dataset, ["text"])["text"].to_pylist()
    assert "ada@lovelace.org" not in "".join(written)
    found = mixed(made, by=by)
    assert sum(part.chars for part in found.parts) == found.chars == sum(map(len, written))


def test_a_mixture_for_a_purpose_is_of_its_documents(made: Made) -> None:
    found = mixture(*made, MixtureSettings(), "personal").mixture
    assert by_name(found, "documents") == dict.fromkeys(SIZES, 1)


# --- which documents ---------------------------------------------------------------------------

DOCUMENTS = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=4), st.tuples(st.integers(0, 9), st.integers(0, 3)),
    min_size=1, max_size=30,
)  # fmt: skip


def drawn(
    documents: Mapping[str, tuple[int, int]], chars: int, seed: int = 1, temperature: float = 2
) -> list[tuple[str, int]]:
    """Ids and epochs of a mixture of documents with a size and a group each."""
    names = sorted(documents)
    chars_of = np.array([documents[name][0] for name in names], np.int64)
    groups = np.array([documents[name][1] for name in names], np.int64)
    sizes = {str(n): int(chars_of[groups == n].sum()) for n in range(4)}
    given = budgets(sizes, shares(sizes, temperature, {"1": 2.5}), chars, 3)
    rows, epochs = draw(base_keys(names, seed), chars_of, groups, list(given.values()), 3)
    return [(names[row], epoch) for row, epoch in zip(rows.tolist(), epochs.tolist(), strict=True)]


@settings(max_examples=150, deadline=None)
@given(DOCUMENTS, st.integers(0, 400), st.integers(0, 50))
def test_a_larger_mixture_takes_the_same_documents_and_more(
    documents: dict[str, tuple[int, int]], chars: int, more: int
) -> None:
    small, large = drawn(documents, chars), drawn(documents, chars + more)
    assert [each for each in large if each in set(small)] == small  # in the same order, too
    assert len(set(large)) == len(large)
    assert all((name, epoch - 1) in large for name, epoch in large if epoch > 1)
    assert max((epoch for _, epoch in large), default=1) <= 3


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.text("abc", max_size=2), st.integers(0, 1000), min_size=1),
    st.integers(1, 5000), st.floats(1, 10), st.integers(1, 5),
)  # fmt: skip
def test_budgets_reach_the_size_unless_every_group_is_capped(
    sizes: dict[str, int], chars: int, temperature: float, max_epochs: int
) -> None:
    wanted = shares(sizes, temperature, {})
    found = budgets(sizes, wanted, chars, max_epochs)
    assert sum(found.values()) == pytest.approx(min(chars, max_epochs * sum(sizes.values())))
    free = [n for n in sizes if found[n] < max_epochs * sizes[n]]
    rates = [found[n] / wanted[n] for n in free]
    assert rates == pytest.approx([rates[0]] * len(rates) if rates else [])


@settings(max_examples=12, deadline=None)
@given(st.permutations(range(126)), st.integers(20, 126))
def test_the_order_of_rows_and_their_files_change_nothing(
    made: Made, order: list[int], shard: int
) -> None:
    project, dataset = made
    rows = project.lake.table(str(dataset.meta["table"])).read(version=dataset.meta["version"])
    other = project.lake.table("shuffled")
    other.overwrite(rows.take(order[:shard]))
    for start in range(shard, len(order), shard):
        other.append(rows.take(order[start : start + shard]))
    moved = replace(dataset, meta={**dataset.meta, "table": "shuffled", "version": other.version})
    assert written((project, moved)) == written(made)


def written(made: Made) -> list[dict[str, Any]]:
    """Every row of a mixture."""
    found = mixture(*made, MixtureSettings(temperature=2, chars=9000))
    pieces = found.batches(*made, ["id", "text"], 0, len(found.rows))
    return [row for piece in pieces for row in piece.to_pylist()]


def test_another_seed_takes_other_documents(made: Made) -> None:
    documents = {str(n): (5, n % 4) for n in range(100)}
    assert drawn(documents, 200, seed=1) != drawn(documents, 200, seed=2)
    assert drawn(documents, 200, seed=1) == drawn(documents, 200, seed=1)


def test_every_document_is_as_likely_to_be_taken_and_to_come_first() -> None:
    documents = {str(n): (5, 0) for n in range(40)}
    taken, first = Counter[str](), Counter[bool]()
    for seed in range(400):
        names = [name for name, _ in drawn(documents, 100, seed)]
        taken.update(names)
        first[names[0] in dict(drawn(documents, 5, seed))] += 1
    assert set(taken) == set(documents)
    assert all(140 < count < 260 for count in taken.values())  # 200 ± 6 standard deviations
    assert 5 < first[True] < 40  # 20 of 400: the order says nothing of the draw


def test_each_epoch_begins_with_documents_of_its_own() -> None:
    documents = {str(n): (5, 0) for n in range(40)}
    first = {name for name, _ in drawn(documents, 100)}
    twice = {name for name, epoch in drawn(documents, 300) if epoch == 2}
    assert len(first) == len(twice) == 20
    assert 3 < len(first & twice) < 17


# --- exports -----------------------------------------------------------------------------------


def test_a_mixed_export_has_a_row_for_each_epoch(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_CHARS", 1000)  # a few rows at a time
    monkeypatch.setattr("undercroft.versions.export.FILE_ROWS", 50)
    project, dataset = made
    found = mixture(project, dataset, MixtureSettings(temperature=2))
    heard: list[tuple[int, int]] = []
    files = export(
        project, dataset, tmp_path / "out", tell=lambda *at: heard.append(at), mixed=found
    )
    rows = rows_in(tmp_path / "out")
    assert len(files) == -(-len(rows) // 50)
    assert heard[-1] == (len(rows), len(rows))
    assert Counter(row["source"] for row in rows) == by_name(found.mixture, "rows")
    assert sum(len(row["text"]) for row in rows) == found.mixture.chars
    once = {row["id"]: row for row in read_dataset(project.lake, dataset).to_pylist()}
    assert all(once[row["id"]] | {"epoch": row["epoch"]} == row for row in rows)
    assert len({(row["id"], row["epoch"]) for row in rows}) == len(rows)
    assert [row["source"] for row in rows] != sorted(row["source"] for row in rows)


def test_the_card_and_the_description_say_the_mixture(made: Made, tmp_path: Path) -> None:
    project, dataset = made
    found = mixture(project, dataset, MixtureSettings(temperature=2, weights={"small.jsonl": 2}))
    export(project, dataset, tmp_path / "out", "jsonl", mixed=found)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "by source, temperature 2, weights small.jsonl x2, at most 4 epochs, seed 20" in card
    part = found.mixture.parts[0]
    assert f"| large.jsonl | 96 | {part.natural:.2%} | {part.asked:.2%} | {part.share:.2%}" in card
    described = json.loads((tmp_path / "out" / "croissant.json").read_text())
    assert (
        f"126 documents, mixed {found.mixture}: {len(found.rows)} rows." in described["description"]
    )
    kinds = {field["name"]: field["dataType"] for field in described["recordSet"][0]["field"]}
    assert (kinds["epoch"], kinds["text"]) == ("sc:Integer", "sc:Text")
    assert "## Mixture" not in run(made, "card").output


def test_a_mixed_export_for_a_purpose_shows_its_columns(made: Made, tmp_path: Path) -> None:
    project, dataset = made
    found = mixture(project, dataset, MixtureSettings(), "personal")
    export(project, dataset, tmp_path / "out", purpose="personal", mixed=found)
    assert [set(row) for row in rows_in(tmp_path / "out")] == [{"uri", "text", "epoch"}] * 3


def test_an_erased_document_is_in_no_mixture(made: Made) -> None:
    project, dataset = made
    table = project.lake.table(str(dataset.meta["table"]))
    other = project.lake.table("erased")
    rows = table.read(version=int(dataset.meta["version"]))
    other.append(rows.slice(1))
    left = replace(dataset, meta={**dataset.meta, "table": "erased", "version": other.version})
    assert mixture(project, left, MixtureSettings()).mixture.rows == 125


# --- what is wrong is said ---------------------------------------------------------------------


def test_a_weight_of_an_unknown_group_names_the_known_ones(made: Made) -> None:
    with pytest.raises(BadInput, match=r"no source 'smal\.jsonl'") as error:
        mixed(made, weights={"smal.jsonl": 2})
    assert "large.jsonl, middle.jsonl, small.jsonl" in error.value.why
    assert "small.jsonl" in error.value.do


def test_an_empty_mixture_is_an_error(made: Made) -> None:
    with pytest.raises(BadInput, match="takes no document"):
        mixed(made, weights=dict.fromkeys(SIZES, 0))
    with pytest.raises(BadInput, match="takes no document"):
        mixed(made, chars=1)


def test_an_unknown_purpose_is_an_error(made: Made) -> None:
    with pytest.raises(NotFound, match="persnal"):
        mixture(*made, MixtureSettings(), "persnal")


def test_weights_are_of_the_groups_that_they_were_written_for() -> None:
    own = MixtureSettings(by="language", weights={"en": 0.5})
    assert adjusted(own, {"weights": {"de": 2}}).weights == {"en": 0.5, "de": 2}
    assert adjusted(own, {"by": "source"}).weights == {}
    for changes in ({"temperature": 0.5}, {"temprature": 2}, {"max_epochs": 0}, {"by": "colour"}):
        with pytest.raises(BadInput, match=next(iter(changes))):
            adjusted(own, changes)


# --- the command -------------------------------------------------------------------------------


def test_the_command_shows_groups_shares_and_epochs(made: Made) -> None:
    shown = run(made, "mix", "--temperature", "2", "--weight", "small.jsonl=3").output
    assert "by source, temperature 2, weights small.jsonl x3, at most 4 epochs" in shown
    line = next(line for line in shown.splitlines() if line.startswith("  small.jsonl"))
    assert "4.00" in line
    assert line.endswith("all it can give")
    assert "█" in line
    assert "░" in next(line for line in shown.splitlines() if line.startswith("  large.jsonl"))
    shown = run(made, "mix", "--groups", "1").output
    assert "and 2 more" in shown


def test_two_mixtures_are_shown_side_by_side(made: Made) -> None:
    command = ["mix", "--temperature", "2", "--against", "temperature=1,weights.small.jsonl=2"]
    shown = run(made, *command).output
    assert "A  dataset:" in shown
    assert "weights small.jsonl x2" in shown
    found = json.loads(run(made, *command, "--json").output)
    assert found["mixture"]["settings"]["temperature"] == 2
    assert found["against"]["settings"]["temperature"] == 1
    for each in found["groups"]:
        assert each["difference"] == pytest.approx(each["against"] - each["share"])
    assert sum(each["difference"] for each in found["groups"]) == pytest.approx(0)


def test_mixtures_by_other_groups_are_compared_by_those_of_the_first(made: Made) -> None:
    command = ["mix", "--temperature", "1e6", "--against", "by=language", "--json"]
    found = json.loads(run(made, *command).output)
    assert [each["name"] for each in found["groups"]] == list(SIZES)
    assert found["groups"][0]["against"] > 0.6  # one language: near the natural proportions


@pytest.mark.parametrize(
    "words", [["--weight", "en"], ["--against", "temperature"], ["--against", "heat=2"]]
)
def test_options_that_are_none_are_explained(made: Made, words: list[str]) -> None:
    error = run(made, "mix", *words).exception
    assert isinstance(error, BadInput)
    assert error.do


def test_the_export_command_follows_the_settings(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERCROFT_MIXTURE__TEMPERATURE", "2")
    monkeypatch.setenv("UNDERCROFT_MIXTURE__WEIGHTS", '{"small.jsonl" = 2}')
    done = run(made, "export", "--mixed", "--to", str(tmp_path / "out"), "--json")
    mixture_of = json.loads(done.output)["mixture"]
    assert mixture_of["settings"]["weights"] == {"small.jsonl": 2}
    assert mixture_of["rows"] == len(rows_in(tmp_path / "out"))
    done = run(made, "export", "--mixed", "--to", str(tmp_path / "other"))
    assert "temperature 2, weights small.jsonl x2" in done.output
