"""Opening a ledger: made once, migrated once, cheap afterwards."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from undercroft.errors import BadConfig, BadInput, Overloaded
from undercroft.ledger import Ledger
from undercroft.ledger.database import HEAD, MIGRATIONS
from undercroft.ledger.tables import metadata as ledger_tables
from undercroft.trust import Keys
from undercroft.trust.tables import metadata as trust_tables


def test_a_fresh_database_gets_every_table(ledger: Ledger) -> None:
    wanted = {*ledger_tables.tables, *trust_tables.tables}
    assert wanted <= set(inspect(ledger.engine).get_table_names())


def test_the_migrations_end_at_the_schema_that_the_code_speaks(ledger: Ledger) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with ledger.engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, [ledger_tables, trust_tables]) == []


def test_the_head_constant_is_the_newest_revision() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_the_migrations_can_be_undone(ledger: Ledger) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with ledger.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]


def test_opening_a_current_ledger_takes_milliseconds_and_no_alembic(
    ledger: Ledger, url: str
) -> None:
    code = f"""
import sys, time
from undercroft.ledger import Ledger
Ledger.open({url!r}).close()  # imports the driver
begun = time.perf_counter()
Ledger.open({url!r}).close()
print(time.perf_counter() - begun, "alembic" in sys.modules)
"""
    seconds, alembic = min(_python(code).split() for _ in range(2))
    assert alembic == "False"
    assert float(seconds) < 0.1  # 2 ms on SQLite, 10 on Postgres; the rest is for a busy machine


def test_importing_the_packages_is_cheap() -> None:
    code = """
import time
begun = time.perf_counter()
import undercroft.ledger, undercroft.trust
print(time.perf_counter() - begun)
"""
    assert min(float(_python(code)) for _ in range(3)) < 0.1


def test_processes_that_open_a_fresh_ledger_at_once_do_not_collide(url: str) -> None:
    code = f"""
import sys
from undercroft.ledger import Ledger
ledger = Ledger.open({url!r})
print(ledger.begin_run("collect", sys.argv[1], {{}}, []).attempt)
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, f"k{number}"], stdout=subprocess.PIPE, text=True
        )
        for number in range(4)
    ]
    assert [process.communicate(timeout=60)[0].strip() for process in processes] == ["1"] * 4
    assert len(Ledger.open(url).runs()) == 4


def test_a_ledger_of_a_newer_version_is_not_touched(ledger: Ledger, url: str) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(BadInput, match="newer Undercroft"):
        Ledger.open(url)


@pytest.mark.parametrize(
    "wrong", ["", "ledger.db", "mysql://u@h/d", "sqlite://", "sqlite:///:memory:"]
)
def test_a_url_that_names_no_database_is_refused(wrong: str) -> None:
    with pytest.raises(BadConfig, match="names no database"):
        Ledger.open(wrong)


def test_a_file_that_is_no_database_is_named_as_such(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    file.write_bytes(b"these are my notes" * 100)
    with pytest.raises(BadConfig, match="not a SQLite database"):
        Ledger.open(f"sqlite:///{file}")
    assert file.read_bytes().startswith(b"these are my notes")


def test_a_postgres_that_does_not_answer_is_a_clear_error() -> None:
    begun = time.monotonic()
    with pytest.raises(Overloaded, match="cannot be used now"):
        Ledger.open("postgresql://nobody@127.0.0.1:9/none")
    assert time.monotonic() - begun < 20


def _python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_a_ledger_from_before_tenants_keeps_its_keys(ledger: Ledger) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    _, secret = Keys(ledger.engine).create("laptop", "user")
    for move, revision in ((command.downgrade, "0001"), (command.upgrade, "head")):
        with ledger.engine.begin() as connection:
            config.attributes["connection"] = connection
            move(config, revision)
    who = Keys(ledger.engine).identify(secret)
    assert who is not None
    assert (who.name, who.tenant) == ("laptop", "")
