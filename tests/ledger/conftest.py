"""Every test that asks for ``ledger`` or ``url`` runs on SQLite and on Postgres."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.postgres import postgres_server, postgres_url
from undercroft.ledger import Ledger, MadeArtifact
from undercroft.records import Artifact, Footprint

__all__ = ["postgres_server", "postgres_url"]

Make = Callable[..., Artifact]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'state' / 'ledger.db'}"


@pytest.fixture
def trust_folder(tmp_path: Path) -> Path:
    return tmp_path / "trust"


@pytest.fixture
def ledger(url: str, trust_folder: Path) -> Iterator[Ledger]:
    opened = Ledger.open(url, trust_folder)
    yield opened
    opened.close()


@pytest.fixture
def make(ledger: Ledger) -> Make:
    """Make an artifact by a whole run: ``make("dataset", raw, name="docs")``."""
    count = 0

    def make(kind: str, *inputs: Artifact, name: str = "docs", stage: str = "") -> Artifact:
        nonlocal count
        count += 1
        run = ledger.begin_run(stage or f"make-{kind}", f"work-{count}", {}, inputs)
        (artifact,) = ledger.finish_run(run.id, [made(kind, name)], Footprint(wall_s=1.0))
        return artifact

    return make


def made(kind: str = "dataset", name: str = "docs", digest: str = "d1") -> MadeArtifact:
    return MadeArtifact(kind, name, digest, f"blob:{kind}/{digest}", 10, {"documents": 3})
