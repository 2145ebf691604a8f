"""One sample project for all tests that only read it."""

from __future__ import annotations

import pytest

from tests.console import sample
from undercroft.project import Project


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Thousands of documents, tens of runs, a week of answers."""
    return sample.build(tmp_path_factory.mktemp("console") / "project")


@pytest.fixture
def empty(tmp_path) -> Project:
    """A project in which nothing was done yet."""
    return Project.open(tmp_path)
