"""Several gateways of one project, each in a folder of its own, with one ledger: they keep one
budget and judge one trial."""

import asyncio
import json
import os
import signal
import sqlite3
import tempfile
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import openai
import pytest

from tests.serve.redis_server import redis_of
from tests.serve.scripted import running
from tests.serve.serving import gateway_of, keep, make_project, release
from tests.serve.test_rollout import NEW, SETTINGS, ask, but, state, until
from undercroft.ledger import Ledger
from undercroft.project import Project
from undercroft.release import rollout
from undercroft.serve.sharing import log as module
from undercroft.serve.sharing.log import Log
from undercroft.trials.assignment import CANARY, CONTROL
from undercroft.trials.tally import Outcome, Tally, rating_of, request_of

FINE, BAD = Outcome(False, False, False, 1.0, 0.001), Outcome(True)
BUDGET = 1200


def sibling(project: Project, folder) -> Project:
    """A gateway's folder beside another, with the same ledger, keys and settings."""
    (folder / ".undercroft").mkdir(parents=True)
    (folder / ".undercroft" / "trust").symlink_to(project.state / "trust")
    (folder / "undercroft.toml").write_text((project.root / "undercroft.toml").read_text())
    return Project.open(folder)


@pytest.fixture(scope="module")
def servers():
    with running() as old, running() as new:
        yield old, new


@pytest.fixture(scope="module")
def pair(tmp_path_factory, servers):
    """Two gateways whose project has a route to each server."""
    folder = tmp_path_factory.mktemp("several")
    project = make_project(folder / "one", cache_entries=0)
    toml = project.root / "undercroft.toml"
    toml.write_text(toml.read_text() + f'\n[store]\nledger = "sqlite:///{folder}/ledger.db"\n')
    project = Project.open(project.root)
    for name, server in zip(("old", "new"), servers, strict=True):
        meta = {"engine": "remote", "base_url": server.url, "model": name}
        model = keep(project, "model", name, meta)
        keep(project, "route", project.name, {"model": str(model.ref)})
    project.ledger.set_alias("route:docs@1", "live", "test")
    with ExitStack() as stack:
        one = stack.enter_context(gateway_of(project, 120))
        yield one, stack.enter_context(gateway_of(sibling(project, folder / "two"), 120))


@pytest.fixture
def served(pair, servers):
    """The gateways as if there had been no rollout."""
    for server in servers:
        server.always = ""
    one, _ = pair
    trial = rollout.status(one.project)
    if trial is not None and trial["status"] in ("running", "held"):
        rollout.undo(one.project)
    one.project.ledger.set_alias("route:docs@1", "live", "test")
    clients = [each.client() for each in pair]
    until(lambda: {ask(each, n)[1] for each in clients for n in range(4)} == {"route:docs@1"}, 60)
    return pair


def test_the_verdict_is_made_over_all_and_the_routes_change_everywhere(served) -> None:
    clients = [each.client() for each in served]
    one, two = (each.project for each in served)
    enough = but(SETTINGS, steps=[0.5], step_pairs=60, promote_margin=0.3)
    rollout.start(one, NEW, settings=enough)
    until(lambda: two.state.joinpath("trial.json").exists() and state(two).is_open, 60)
    for client in clients:  # 50 pairs at most, of the 60 that are wanted
        until(lambda client=client: "model:new@1" in [each.id for each in client.models.list()], 60)
        for number in range(100):
            assert ask(client, number)[0]
    until(lambda: state(one).status == state(two).status == "promoted", 60)
    assert state(one).reason == state(two).reason
    until(lambda: {ask(each, n)[1] for each in clients for n in range(4)} == {NEW}, 60)
    verdicts = [each.verdict for each in one.ledger.decisions(kind="rollout")]
    assert verdicts.count("promoted") == 1, "one of them told it"


def test_an_order_given_at_one_reaches_the_other(served) -> None:
    one, two = (each.project for each in served)
    rollout.start(one, NEW, settings=but(SETTINGS, steps=[0.5], step_pairs=9999))
    until(lambda: state(two).is_open and state(two).id == state(one).id, 60)
    rollout.undo(two, reason="Enough.")
    until(lambda: state(one).status == "rolled back", 60)
    assert state(one).reason == "Enough."
    client = served[0].client()
    until(lambda: {ask(client, n)[1] for n in range(8)} == {"route:docs@1"}, 60)


def test_without_the_ledger_each_judges_alone_and_the_other_hears_it_afterwards(
    served, servers
) -> None:
    one, two = (each.project for each in served)
    rollout.start(one, NEW, settings=but(SETTINGS, steps=[0.5], step_pairs=9999))
    until(lambda: state(two).is_open and state(two).id == state(one).id, 60)
    client = served[0].client()
    until(lambda: ask(client)[1] == NEW, 60)
    with locked(one):
        servers[1].always = "nonsense"
        until(lambda: ask(client)[0] and state(one).status == "rolled back", 60)
        assert state(two).is_open
    until(lambda: state(two).status == "rolled back", 90)
    assert state(two).by == "gateway"


@contextmanager
def locked(project: Project):
    """Nobody can write to the ledger."""
    path = project.settings.store.ledger.removeprefix("sqlite:///")
    lock = sqlite3.connect(path, isolation_level=None, timeout=60)
    lock.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        lock.execute("ROLLBACK")
        lock.close()


def test_a_budget_holds_over_both_though_one_is_killed(served) -> None:
    one, two = served
    _, secret = one.project.trust.keys.create("spender", "user", daily_tokens=BUDGET)

    def spend(gateway) -> int:
        said = gateway.client(api_key=secret).chat.completions.with_raw_response.create(
            model="docs", max_tokens=20,
            messages=[{"role": "user", "content": "script:plain"}],
        )  # fmt: skip
        return said.parse().usage.total_tokens

    spent = sum(spend(gateway) for _ in range(15) for gateway in served)
    os.kill(one.process.pid, signal.SIGKILL)
    one.process.wait()
    refusal = ""
    while not refusal and spent < 2 * BUDGET:
        try:
            spent += spend(two)
        except openai.APIStatusError as error:
            refusal = str(error)
    assert "tokens for today are spent" in refusal
    held, most = BUDGET // 100, 40
    assert BUDGET - held - 2 * most <= spent <= BUDGET + held + most


def test_a_store_that_dies_is_said_and_the_gateway_goes_on(tmp_path, servers) -> None:
    with tempfile.TemporaryDirectory(prefix="uc") as folder, redis_of(Path(folder)) as store:
        project = make_project(tmp_path / "p", cache_entries=0)
        toml = project.root / "undercroft.toml"
        toml.write_text(toml.read_text() + f'\n[store]\ncache = "{store.url}"\n')
        project = Project.open(project.root)
        meta = {"engine": "remote", "base_url": servers[0].url, "model": "old"}
        release(project, keep(project, "model", "old", meta))
        with gateway_of(project, 120) as served:
            client = served.client()

            def lacking() -> str:
                said = client.chat.completions.with_raw_response.create(
                    model="docs", messages=[{"role": "user", "content": "script:plain"}]
                )
                return said.headers.get("x-undercroft-degraded", "")

            until(lambda: "budgets" not in lacking(), 60)
            store.process.kill()
            until(lambda: "budgets" in lacking(), 60)
            with urllib.request.urlopen(f"{served.root}/health", timeout=60) as reply:
                health = json.loads(reply.read())
            assert (health["status"], health["budgets"]["shared"]) == ("degraded", "down")


# The log itself


@pytest.fixture
def ledger(tmp_path):
    opened = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield opened
    opened.close()


@pytest.fixture
def logs(ledger, monkeypatch):
    monkeypatch.setattr(module, "EVERY_S", 0.0)
    made = [Log(ledger.engine, name) for name in "ab"]
    for each in made:
        each.begin("t1")
    return made


def saw(log: Log, tally: Tally, arm: str, unit: str, outcome: Outcome = FINE) -> None:
    event = request_of(arm, unit, outcome)
    log.saw(arm, None if tally.knows(event) else event)


async def test_all_count_the_same_in_the_same_order_and_a_unit_that_several_met_once(logs) -> None:
    tallies = [Tally(), Tally()]
    for log, tally in zip(logs, tallies, strict=True):
        saw(log, tally, CANARY, "met by both", BAD)
        saw(log, tally, CONTROL, f"of {log.gateway} alone")
        log.rated(rating_of(CANARY, "met by both", -1))
        log.shadowed()
    for _ in range(2):
        tallies = [await log.count(tally, 0.0) for log, tally in zip(logs, tallies, strict=True)]
    for log, tally in zip(logs, tallies, strict=True):
        saw(log, tally, CANARY, "met by both")
    for _ in range(2):
        tallies = [await log.count(tally, 0.0) for log, tally in zip(logs, tallies, strict=True)]
    one, other = tallies
    assert one.state() == other.state()
    assert one.units == {CANARY: 1, CONTROL: 2}
    assert one.requests == {CANARY: 4, CONTROL: 2}
    assert one.shadows == 2
    assert one.rates["errors"].pairs.worse == 1
    assert list(one.rates["unhappy"].canary) == [True]


@contextmanager
def slow(ledger):
    """The ledger can be read and not be written."""
    lock = sqlite3.connect(ledger.engine.url.database, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    yield
    lock.execute("ROLLBACK")
    lock.close()


@contextmanager
def broken(ledger):
    """The ledger refuses at once."""
    other = sqlite3.connect(ledger.engine.url.database, isolation_level=None)
    other.execute("ALTER TABLE trial_outcomes RENAME TO gone")
    yield
    other.execute("ALTER TABLE gone RENAME TO trial_outcomes")
    other.close()


@pytest.mark.parametrize("fault", [slow, broken])
async def test_what_was_seen_without_the_ledger_counts_at_once_and_for_all_afterwards(
    logs, ledger, monkeypatch, fault
) -> None:
    one, other = logs
    mine, theirs = Tally(), Tally()
    for arm in (CANARY, CONTROL):
        saw(one, mine, arm, f"before {arm}")
    mine, theirs = await one.count(mine, 0.0), await other.count(theirs, 0.0)
    with monkeypatch.context() as patch, fault(ledger):
        patch.setattr(module, "WITHIN_S", 0.05 if fault is slow else 20.0)
        for number in range(3):
            saw(one, mine, CANARY, f"c{number}", BAD)
            saw(one, mine, CONTROL, f"d{number}")
            mine.follow(CANARY, True)
            mine = await one.count(mine, 0.0)
            assert one.is_apart
        assert mine.pairs == 4
    saw(other, theirs, CANARY, "c0", BAD)
    wanted = {CANARY: 5, CONTROL: 4}
    while one.is_apart or mine.requests != wanted or theirs.requests != wanted:
        mine, theirs = await one.count(mine, 0.0), await other.count(theirs, 0.0)
        await asyncio.sleep(0.01)
    assert mine.state() == {**theirs.state(), "streak": 3}
    assert mine.rates["errors"].pairs.worse == 3
    assert mine.units == {CANARY: 4, CONTROL: 4}, "the unit that both met once"


async def test_a_gateway_that_starts_anew_counts_what_it_saw_before(logs, ledger) -> None:
    one, _ = logs
    for number in range(5):
        saw(one, Tally(), CANARY, f"c{number}")
    await one.count(Tally(), 0.0)
    again = Log(ledger.engine, "c")
    again.begin("t1")
    assert (await again.count(Tally(), 0.0)).units[CANARY] == 5
