"""Routes put together by hand: adapters, fallbacks, models that run elsewhere."""

import json

import pytest
from click.testing import CliRunner

from tests.serve.serving import keep, make_project, release
from undercroft.cli.main import group
from undercroft.errors import BadInput, Denied, NotFound
from undercroft.project import Project
from undercroft.release import LIVE, compose, rollback
from undercroft.release.compose import Change
from undercroft.release.live import live_route


@pytest.fixture
def project(tmp_path) -> Project:
    """A model made from ``model:docs@1`` is live; ``adapter:legal`` fits it."""
    project = make_project(tmp_path / "p")
    model = keep(project, "model", "docs-q8_0", {"source": "model:docs@1"})
    keep(project, "adapter", "legal", {"fits": "model:docs@1"})
    keep(project, "adapter", "strange", {"fits": "model:other@3"})
    release(project, model, index="", scorecard="scorecard:docs@1", sampling={})
    return project


def run(project: Project, *words: str, given: str = "", fails: bool = False) -> str:
    done = CliRunner().invoke(group, ["-C", str(project.root), *words], input=given)
    assert (done.exit_code != 0) == fails, done.output
    return done.output


def test_an_adapter_is_put_beside_the_live_model_and_taken_away(project) -> None:
    out = run(project, "release", "change", "--adapter", "legal=acme,globex", "--now", "--json")
    assert json.loads(out)["ref"] == "route:docs@2"
    live = live_route(project)
    assert live is not None
    assert live.meta["adapters"] == {"adapter:legal@1": ["acme", "globex"]}
    assert live.meta["scorecard"] == "scorecard:docs@1", "the model is the one that was judged"
    above = {node.id for node in project.ledger.lineage(live.ref, "up").nodes}
    assert {"adapter:legal@1", "model:docs-q8_0@1"} <= above
    newest = project.ledger.decisions(kind="release", limit=1)[0]
    assert (newest.subject, newest.verdict) == ("route:docs@2", "released by hand")
    run(project, "release", "change", "--without", "legal", "--now")
    live = live_route(project)
    assert live is not None
    assert live.meta["adapters"] == {}


def test_an_adapter_of_other_weights_is_refused(project) -> None:
    with pytest.raises(BadInput, match="trained on model:other@3"):
        compose.changed(project, Change(adapters={"strange": []}))
    with pytest.raises(NotFound):
        compose.changed(project, Change(adapters={"missing": []}))
    with pytest.raises(BadInput, match="is that already"):
        compose.changed(project, Change())


def test_a_route_by_hand_is_no_way_around_approval(project) -> None:
    strict = Project.open(project.root, {"rollout.approval": True})
    made = compose.changed(strict, Change(adapters={"legal": []}))
    with pytest.raises(Denied, match="needs somebody's approval"):
        compose.put_live(strict, made, "ada")
    live = live_route(project)
    assert live is not None
    assert str(live.ref) == "route:docs@1"


def test_going_back_passes_over_what_was_never_live(project) -> None:
    compose.changed(project, Change(adapters={"legal": ["acme"]}))
    third = compose.changed(project, Change(adapters={"legal": ["globex"]}))
    project.ledger.set_alias(third.ref, LIVE, "test")
    assert str(rollback(project).ref) == "route:docs@1"


def test_a_remote_model_stands_in_and_its_key_is_in_no_artifact(project) -> None:
    run(project, "secret", "set", "BIG_KEY", given="sk-very-secret\n")
    words = ["--url", "https://api.example.com/v1", "--model", "big-2", "--key", "BIG_KEY"]
    out = run(project, "model", "add-remote", "big", *words, "--price", "2.5,10", "--json")
    assert json.loads(out)["meta"]["price_out"] == 10
    run(project, "release", "change", "--fallback", "big", "--now")
    live = live_route(project)
    assert live is not None
    assert live.meta["fallback"] == "model:big@1"
    assert "scorecard" in live.meta
    with pytest.raises(BadInput, match="stand in for itself"):
        compose.changed(project, Change(fallback="docs-q8_0"))
    kept = [file for file in project.state.rglob("*") if file.is_file()]
    assert not [file for file in kept if b"sk-very-secret" in file.read_bytes()]
    fresh = Project.open(project.root)
    assert fresh.trust.secrets.get("BIG_KEY") == "sk-very-secret"
    assert json.loads(run(project, "secret", "ls", "--json")) == ["BIG_KEY"]
    run(project, "secret", "remove", "BIG_KEY")
    assert fresh.trust.secrets.get("BIG_KEY") is None
    actions = [entry.action for entry in project.trust.audit.entries()]
    assert {"secret.set", "secret.removed"} <= set(actions)


def test_what_is_wrong_with_a_remote_model_is_said(project) -> None:
    words = ["model", "add-remote", "big", "--model", "x", "--url"]
    assert "give an address" in str(
        CliRunner().invoke(group, ["-C", str(project.root), *words, "ftp://x"]).exception
    )
    run(project, *words, "https://x", "--price", "cheap", fails=True)
