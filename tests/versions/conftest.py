from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from tests.curate.conftest import project
from undercroft.collect.stage import collect
from undercroft.curate.stage import curate
from undercroft.project import Project
from undercroft.records import Artifact

__all__ = ["made", "project"]


@pytest.fixture
def made(project: Callable[..., Project]) -> Callable[..., tuple[Project, Artifact]]:
    """Collects and curates texts by name; the project and its new dataset version."""

    def one(texts: Mapping[str, str], **settings: object) -> tuple[Project, Artifact]:
        opened = project(texts, **settings)
        (dataset,) = curate(opened, raw=collect(opened)[0])
        return opened, dataset

    return one
