"""One gateway process with a real llama.cpp engine for all tests that do not break it."""

import pytest

from tests.serve.scripted import running
from tests.serve.serving import (
    gateway_of,
    keep,
    keep_index,
    keep_model,
    make_project,
    release,
    smollm,
)


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """A gateway in front of SmolLM2, with a few documents to read."""
    project = make_project(tmp_path_factory.mktemp("served") / "project", slots=2)
    release(project, keep_model(project, "docs-q4_1", smollm()), **keep_index(project))
    with gateway_of(project) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def scripted():
    with running() as upstream:
        yield upstream


@pytest.fixture(scope="session")
def remote(tmp_path_factory, scripted):
    """A gateway in front of a scripted remote engine, by two names: ``model:able`` takes tools and
    images, ``model:plain`` text alone."""
    project = make_project(tmp_path_factory.mktemp("remote") / "project", slots=2)
    base = {"engine": "remote", "base_url": scripted.url + "/v1", "model": "theirs"}
    able = keep(project, "model", "able", {**base, "accepts": ["tools", "image"]})
    plain = keep(project, "model", "plain", {**base, "accepts": []})
    arms = [{"model": str(each.ref), "weight": 1} for each in (able, plain)]
    release(project, able, arms=arms)
    with gateway_of(project) as gateway:
        yield gateway


@pytest.fixture
def client(served):
    with served.client() as client:
        yield client
