"""One gateway process with a real llama.cpp engine for all tests that do not break it."""

import pytest

from tests.serve.serving import gateway_of, keep_index, keep_model, make_project, release, smollm


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """A gateway in front of SmolLM2, with a few documents to read."""
    project = make_project(tmp_path_factory.mktemp("served") / "project", slots=2)
    release(project, keep_model(project, "docs-q4_1", smollm()), **keep_index(project))
    with gateway_of(project) as gateway:
        yield gateway


@pytest.fixture
def client(served):
    with served.client() as client:
        yield client
