"""Runs as OpenLineage events: versions on both sides, failures too, stable ids."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable

import pytest

from tests.curate.conftest import project
from undercroft.collect.stage import collect
from undercroft.curate.stage import curate
from undercroft.errors import BadSource
from undercroft.govern.openlineage import as_json
from undercroft.project import Project

__all__ = ["project"]
TEXT = "This text, like a few others, is long enough to be kept by the rules of the policy here."


def test_every_run_that_ended_is_an_event(project: Callable[..., Project]) -> None:
    opened = project({"a": TEXT})
    curate(opened, raw=collect(opened)[0])
    opened = project({"a": f"{TEXT} It was changed, and so it is another one."})
    curate(opened, raw=collect(opened)[0])
    events = [json.loads(line) for line in as_json(opened)]
    assert [event["job"]["name"] for event in events] == ["curate", "collect"] * 2
    newest = events[0]
    assert newest["eventType"] == "COMPLETE"
    (raw,), (dataset,) = newest["inputs"], newest["outputs"]
    assert (raw["name"], raw["facets"]["version"]["datasetVersion"]) == ("raw/project", "2")
    assert dataset["facets"]["version"]["datasetVersion"] == "2"
    assert dataset["outputFacets"]["outputStatistics"]["rowCount"] == 1
    assert raw["namespace"] == newest["job"]["namespace"] == "undercroft/project"
    ids = [event["run"]["runId"] for event in events]
    assert len(set(map(uuid.UUID, ids))) == 4
    assert ids == [json.loads(line)["run"]["runId"] for line in as_json(opened)]
    assert newest["schemaURL"].startswith("https://openlineage.io/spec/")


def test_a_failure_says_why(project: Callable[..., Project]) -> None:
    opened = project({"a": "Too short."})
    (raw,) = collect(opened)
    with pytest.raises(BadSource):
        curate(opened, raw=raw)
    newest = json.loads(next(iter(as_json(opened))))
    assert newest["eventType"] == "FAIL"
    assert "removed every document" in newest["run"]["facets"]["errorMessage"]["message"]
