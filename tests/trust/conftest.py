"""A database with every table in it, SQLite and Postgres in turn, and a folder for key files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.postgres import postgres_server, postgres_url
from undercroft.ledger import Ledger
from undercroft.trust import AuditLog
from undercroft.trust.audit import append
from undercroft.trust.transactions import writing

__all__ = ["postgres_server", "postgres_url"]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    ledger = Ledger.open(url)
    yield ledger.engine
    ledger.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "trust"


@pytest.fixture
def log(engine: Engine, folder: Path) -> AuditLog:
    return AuditLog(engine, folder / "audit.head")


def enter(engine: Engine, number: int = 1, actor: str = "ada") -> None:
    """Add ``number`` entries, in a transaction each."""
    for index in range(number):
        with writing(engine) as connection:
            append(connection, actor, "document.read", f"document:{index}", {"n": index})
