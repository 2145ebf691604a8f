"""Lines and paragraphs that many documents share are cut from all but one."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undercroft.collect.stage import collect
from undercroft.curate.lines import line_numbers, paragraphs, sizes
from undercroft.curate.stage import curate
from undercroft.lake import read_dataset
from undercroft.project import Project
from undercroft.records import Artifact

Opened = Callable[..., Project]
NOTICE = (
    "Copyright 2019 by the people who wrote this handbook, all rights reserved.\n"
    "Write to the publisher before you copy any part of it for other people."
)
WORDS = ["river", "stone", "window", "garden", "letter", "market", "bridge", "winter"]


def prose(seed: int, words: int = 60) -> str:
    chosen = random.Random(seed)
    return " ".join(f"{chosen.choice(WORDS)}{chosen.choice(WORDS)}" for _ in range(words)) + "."


def made(project: Project) -> Artifact:
    (raw,) = collect(project)
    (dataset,) = curate(project, raw=raw)
    return dataset


def texts(project: Project, dataset: Artifact) -> dict[str, str]:
    rows = read_dataset(project.lake, dataset, ["uri", "text"]).to_pylist()
    return {row["uri"].rpartition("#")[2]: row["text"] for row in rows}


def numbers(*lines: str) -> list[np.ndarray]:
    found = line_numbers(pa.array(lines, pa.large_string()))
    return [np.frombuffer(each, np.uint64) for each in found]


def test_lines_that_say_the_same_have_the_same_number():
    (own,) = numbers("Page 12 of 99\n\n  PAGE 34 of 11!\nanother\n---\n")
    assert own[0] == own[2] != own[3]
    assert own[1] == own[4] == 0
    assert sizes(own).tolist() == [10, 0, 10, 7, 0]
    assert [len(each) for each in numbers("", "a", "a\n", "a\nb", "\n")] == [0, 1, 1, 2, 1]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("aä字\n .1", max_size=40), max_size=5))
def test_every_line_has_a_number_and_blank_ones_have_none(documents):
    for text, own in zip(documents, numbers(*documents), strict=True):
        lines = text.split("\n")
        lines = lines if lines[-1] else lines[:-1]
        assert len(own) == len(lines)
        for line, number in zip(lines, own.tolist(), strict=True):
            assert bool(number) == any(char.isalnum() for char in line)


def test_paragraphs_are_the_lines_between_blank_ones():
    first, second = numbers("a\nb\n\nc\n", "\n\na\nb")
    ends = np.cumsum([len(first), len(second)])
    found, documents, start, end = paragraphs(np.concatenate([first, second]), ends)
    places = list(zip(documents.tolist(), start.tolist(), end.tolist(), strict=True))
    assert places == [(0, 0, 2), (0, 3, 4), (1, 2, 4)]
    assert found[0] == found[2] != found[1]


@pytest.mark.parametrize("unit", ["lines", "paragraphs"])
def test_a_notice_stays_in_one_document(project: Opened, unit: str) -> None:
    bodies = {f"d{n}": f"{prose(n)}\n\n{NOTICE.replace('2019', str(2000 + n))}" for n in range(5)}
    opened = project(bodies, cut_repeated=unit, cut_repeated_from=3)
    dataset = made(opened)
    found = texts(opened, dataset)
    assert [name for name in found if "publisher" in found[name]] == ["d0"]
    assert all(found[f"d{n}"].startswith(prose(n)) for n in range(5))
    assert dataset.meta["cut"]["documents"] == 4


def test_what_few_documents_share_and_what_is_short_stays(project: Opened) -> None:
    bodies = {f"d{n}": f"{prose(n)}\n\n{NOTICE}\n\nSee also:" for n in range(3)}
    opened = project(bodies, cut_repeated="paragraphs", cut_repeated_from=4)
    assert made(opened).meta["cut"] == {"documents": 0, "chars": 0}


def test_a_paragraph_is_not_cut_for_one_of_its_lines(project: Opened) -> None:
    shared = NOTICE.splitlines()[0]
    bodies = {f"d{n}": f"{shared}\n{prose(n)}" for n in range(4)}
    opened = project(bodies, cut_repeated="paragraphs", cut_repeated_from=2)
    assert made(opened).meta["cut"]["documents"] == 0


def test_a_document_of_nothing_else_is_removed(project: Opened) -> None:
    parts = [prose(n, 12) for n in range(3)]
    bodies = {f"d{n}": f"{part}\n\n{prose(n + 50)}" for n, part in enumerate(parts)}
    bodies["a long name after all others"] = "\n\n".join(parts)
    opened = project(bodies, cut_repeated="paragraphs", cut_repeated_from=2)
    dataset = made(opened)
    assert dataset.meta["removed"] == {"only_repeated": 1}
    assert len(texts(opened, dataset)) == 3


def test_masks_inside_and_beside_what_is_cut_hold(project: Opened) -> None:
    notice = f"{NOTICE} Or to ada@lovelace.org, who answers every letter that she gets."
    bodies = {f"d{n}": f"{prose(n)} bob{n}@lovelace.org\n\n{notice}" for n in range(3)}
    opened = project(bodies, cut_repeated="paragraphs", cut_repeated_from=2)
    found = texts(opened, made(opened))
    assert "lovelace" not in "".join(found.values())
    assert [text.count("[EMAIL]") for _, text in sorted(found.items())] == [2, 1, 1]


def test_neither_order_nor_other_documents_decide_where_it_stays(project: Opened) -> None:
    names = [f"d{n}" for n in range(6)]
    stays = set()
    for seed in range(3):
        shuffled = random.Random(seed).sample(names, 6)
        bodies = {name: f"{prose(int(name[1:]))}\n\n{NOTICE}" for name in shuffled}
        opened = project(bodies, cut_repeated="lines", cut_repeated_from=2)
        found = texts(opened, made(opened))
        stays |= {name for name in found if "publisher" in found[name]}
    assert stays == {"d0"}
