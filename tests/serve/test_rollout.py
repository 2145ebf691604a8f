"""A new route beside the live one, in a real gateway: who gets it, and how it stays or goes."""

import json
import sqlite3
import time

import msgspec
import pytest
from click.testing import CliRunner

from tests.serve.scripted import running
from tests.serve.serving import gateway_of, keep, make_project
from undercroft.cli.main import group
from undercroft.errors import BadInput, Denied, NotFound
from undercroft.project import Project
from undercroft.release import rollout
from undercroft.serve.journal import rows
from undercroft.serve.journal.rows import FindingRow, RequestRow
from undercroft.serve.releasing.seen import Seen, outcome_of
from undercroft.settings import RolloutSettings
from undercroft.trials import trial as trials

NEW = "route:docs@2"
SETTINGS = RolloutSettings(
    steps=[0.25, 0.5], step_pairs=10, step_minutes=0, unit="request", promote_margin=0.2,
    must_pass=["errors", "unfinished"], harm_alpha=1e-5,
)  # fmt: skip


@pytest.fixture(scope="module")
def servers():
    with running() as old, running() as new:
        yield old, new


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, servers):
    """A gateway whose project has a route to each server."""
    project = make_project(tmp_path_factory.mktemp("rollout") / "p", cache_entries=0)
    for name, server in zip(("old", "new"), servers, strict=True):
        meta = {"engine": "remote", "base_url": server.url, "model": name}
        model = keep(project, "model", name, meta)
        keep(project, "route", project.name, {"model": str(model.ref)})
    project.ledger.set_alias("route:docs@1", "live", "test")
    with gateway_of(project) as served:
        yield served


@pytest.fixture
def served(gateway, servers):
    """The gateway as if there had been no rollout: the first route is live."""
    for server in servers:
        server.always = ""
        server.asked.clear()
    trial = trials.read(gateway.project.state)
    if trial is not None and trial.is_open:
        rollout.undo(gateway.project)
    gateway.project.ledger.set_alias("route:docs@1", "live", "test")
    client = gateway.client()
    until(lambda: {ask(client, number)[1] for number in range(8)} == {"route:docs@1"})
    return gateway


@pytest.fixture
def project(served):
    return served.project


@pytest.fixture
def client(served):
    return served.client()


def ask(client, number: int = 0):
    """One answer and the route that gave it."""
    said = client.chat.completions.with_raw_response.create(
        model="docs", messages=[{"role": "user", "content": f"{number} script:plain"}]
    )
    return said.parse().choices[0].message.content, said.headers["x-undercroft-route"]


def until(condition, timeout_s: float = 15.0):
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
    return found


def asked_until(client, condition, most: int = 4000) -> int:
    for number in range(most):
        assert ask(client, number)[0]
        if condition():
            return number + 1
    raise AssertionError("it did not come to pass")


def state(project: Project) -> trials.Trial:
    found = trials.read(project.state)
    assert found is not None
    return found


def meets(client, project: Project) -> None:
    """Wait until the new route gets traffic."""
    until(lambda: ask(client)[1] == state(project).canary)


def test_a_canary_that_fails_is_gone_at_once_and_no_client_sees_it(
    project, client, servers
) -> None:
    servers[1].always = "nonsense"
    rollout.start(project, NEW, settings=SETTINGS)
    asked_until(client, lambda: state(project).status == "rolled back")
    assert "failed 5 times in a row" in state(project).reason
    until(lambda: state(project).told == state(project).version)
    newest = project.ledger.decisions(kind="rollback", limit=1)[0]
    assert (newest.subject, newest.actor) == ("route:docs@2", "gateway")
    assert {ask(client, n)[1] for n in range(20)} == {"route:docs@1"}
    with pytest.raises(BadInput, match="is live already"):
        rollout.start(project, "route:docs@1")


def test_a_canary_that_does_worse_is_rolled_back_by_evidence(project, client, servers) -> None:
    servers[1].always = "empty-cut"
    rollout.start(project, NEW, settings=but(SETTINGS, failures_in_a_row=1000))
    asked_until(client, lambda: not state(project).is_open)
    assert "does worse: unfinished 0.0% → 100.0%" in state(project).reason
    found = rollout.status(project)
    assert found is not None
    standings = {each["measure"]: each for each in found["standings"]}
    assert standings["unfinished"]["is_harm"]
    assert not standings["errors"]["is_harm"]


def but(settings: RolloutSettings, **changes) -> RolloutSettings:
    return RolloutSettings(**{**settings.model_dump(), **changes})


def test_a_good_canary_goes_up_in_steps_is_promoted_and_can_be_undone(
    project, client, tmp_path
) -> None:
    rollout.start(project, NEW, settings=SETTINGS)
    asked_until(client, lambda: state(project).step == 1)
    assert state(project).share == 0.5
    asked_until(client, lambda: state(project).status != "running")
    assert state(project).status == "promoted", state(project).reason
    until(lambda: state(project).told == state(project).version)
    assert str(project.ledger.artifact("route:docs@live").ref) == "route:docs@2"
    assert {ask(client, n)[1] for n in range(20)} == {"route:docs@2"}
    verdicts = [each.verdict for each in project.ledger.decisions(kind="rollout")][:3]
    assert verdicts == ["promoted", "50% of traffic", "started"]

    def run(*words: str):
        done = CliRunner().invoke(group, ["-C", str(project.root), "release", *words])
        assert done.exit_code == 0, done.output
        return done.output

    page = tmp_path / "rollout.html"
    told = json.loads(run("status", "--json", "--html", str(page)))
    assert (told["status"], told["canary"]) == ("promoted", "route:docs@2")
    assert page.read_text().count("<svg") >= 3
    assert "unfinished" in run("status")
    assert "promoted, by gateway" in run("history")
    began = time.monotonic()
    assert "route:docs@1 is live; route:docs@2 is not" in run("rollback", "--reason", "why not")
    until(lambda: ask(client)[1] == "route:docs@1", 5)
    assert time.monotonic() - began < 3


def test_it_ends_within_a_second_while_the_ledger_cannot_be_written(project, client) -> None:
    rollout.start(project, NEW, settings=but(SETTINGS, steps=[0.5], step_pairs=9999))
    meets(client, project)
    lock = sqlite3.connect(project.state / "ledger.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    ended = trials.change(
        project.state, lambda found: msgspec.structs.replace(found, status="rolled back")
    )
    began = time.monotonic()
    until(lambda: {ask(client, n)[1] for n in range(8)} == {"route:docs@1"}, 5)
    assert time.monotonic() - began < 1.5
    assert state(project).told < ended.version
    lock.execute("ROLLBACK")
    lock.close()
    until(lambda: state(project).told == ended.version, 40)


def test_shadow_requests_come_before_any_traffic(project, client, servers) -> None:
    rollout.start(project, NEW, settings=but(SETTINGS, shadow_requests=3))
    until(lambda: "new@1" in str([model.id for model in client.models.list()]))
    routes = set()
    while len(servers[1].asked) < 3:
        routes.add(ask(client)[1])
    assert routes == {"route:docs@1"}
    meets(client, project)


def test_both_versions_can_be_asked_for_by_name(project, client) -> None:
    rollout.start(project, NEW, kind="abtest", settings=but(SETTINGS, steps=[0.01]))
    until(lambda: "model:new@1" in [model.id for model in client.models.list()])
    for name, route in (("model:new@1", "route:docs@2"), ("model:old@1", "route:docs@1")):
        said = client.chat.completions.with_raw_response.create(
            model=name, messages=[{"role": "user", "content": "script:plain"}]
        )
        assert said.headers["x-undercroft-route"] == route
        assert said.headers["x-undercroft-model"] == name


def test_a_route_that_cannot_be_opened_is_rolled_back_and_says_why(project, client) -> None:
    meta = {"model": "model:nowhere@1"}
    route = keep(project, "route", project.name, meta)
    rollout.start(project, str(route.ref), settings=SETTINGS)
    until(lambda: state(project).status == "rolled back")
    assert "could not be opened" in state(project).reason
    assert ask(client)[1] == "route:docs@1"


def test_approval_needs_another_admin(project, client) -> None:
    _, own = project.trust.keys.create("ada", "admin")
    _, other = project.trust.keys.create("bob", "admin")
    _, user = project.trust.keys.create("eve", "user")
    with pytest.raises(NotFound, match="No rollout is open"):
        rollout.promote(project)
    rollout.start(project, NEW, actor="ada", settings=but(SETTINGS, approval=True))
    for secret in ("", user, own):
        with pytest.raises(Denied):
            rollout.promote(project, secret=secret)
    assert rollout.promote(project, secret=other).by == "bob"
    assert str(project.ledger.artifact("route:docs@live").ref) == "route:docs@2"
    until(lambda: ask(client)[1] == NEW)
    names = [model.id for model in client.models.list()]
    assert {"model:new@1", "model:old@1"} <= set(names), "the old one is kept warm"


def test_what_the_client_wrote_is_no_finding_of_the_answer() -> None:
    row = RequestRow("a", rows.now(), "k", "s", NEW, "m", "chat", status="ok")
    row.findings = [FindingRow("pii.email", 0, 9, 1.0, "email")]
    assert outcome_of(row, Seen(input_findings=1)).has_finding is False
    assert outcome_of(row, Seen()).has_finding is True
