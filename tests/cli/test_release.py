"""Releases and what goes into them from the command line: what is said, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from undercroft.cli.main import main
from undercroft.ledger import MadeArtifact
from undercroft.project import Project
from undercroft.records import Footprint


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two routes, the first of them live, and a model in fewer bits."""
    project = Project.open(tmp_path_factory.mktemp("release"))
    copy = {"file": "gguf", "source": "model:docs@1"}
    facts = [("model", "small", copy), ("model", "other", {})]
    facts += [("route", project.name, {"model": f"model:{name}@1"}) for name in ("small", "other")]
    for number, (kind, name, meta) in enumerate(facts):
        run = project.ledger.begin_run("test", str(number), {}, [])
        made = MadeArtifact(kind, name, str(number), "none:", 0, meta)
        project.ledger.finish_run(run.id, [made], Footprint())
    project.ledger.set_alias(f"route:{project.name}@1", "live", "test")
    return project


def said(capsys: pytest.CaptureFixture[str], project: Project, *words: str) -> tuple[str, str, int]:
    code = 0
    try:
        main(["-C", str(project.root), *words])
    except SystemExit as ended:
        code = int(ended.code or 0)
    heard = capsys.readouterr()
    return heard.out, heard.err, code


REFUSED = [
    ("release start --steps 0.5,0.1", "growing shares"),
    ("release start model:small", "is not a route"),
    ("release status --html page.html", "There was no rollout yet"),
    ("release status --watch", "There was no rollout yet"),
    ("release abtest report", "There was no experiment yet"),
    ("release abtest stop", "There was no experiment yet"),
    ("release abtest plan --rate 0.05 --change 0", "nothing to find"),
    ("release abtest plan --rate 0.05 --change -0.1", "no rate"),
    ("release change --fallback=", "is that already"),
    ("compress model:small", "smaller copy already"),
    ("compress model:other --formats q8_0,,q4_0", "no format ''"),
    ("compress route:NAME", "is no model"),
    ("model add-remote big --url http://x/v1 --model m --accepts smell", "--accepts cannot be"),
    ("model add-remote big --url http://x/v1 --model m --price nan,1", "--price cannot be"),
]


@pytest.mark.parametrize(("line", "why"), REFUSED)
def test_what_cannot_be_done_is_refused_and_says_why(line, why, project, capsys) -> None:
    out, err, code = said(capsys, project, *line.replace("NAME", project.name).split())
    assert code in (2, 3)
    assert err.startswith("error: ")
    assert why in err
    assert out == ""


def test_a_plan_has_a_row_for_each_change_and_days(project, capsys) -> None:
    out, _, code = said(
        capsys, project, *["release", "abtest", "plan", "--rate", "0.05", "--per-day", "500"]
    )
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[2:]] == ["+1", "+2", "+5", "+10"]
    asked = "release abtest plan --rate 0.05 --change -0.02 --per-day 500 --json"
    (found,) = json.loads(said(capsys, project, *asked.split())[0])["plans"]
    assert found["pairs"] < found["pairs_likely"]
    assert found["days"] == found["units_likely"] / 500


def test_an_experiment_and_a_rollout_are_kept_apart_and_watching_ends_with_them(
    project, capsys, monkeypatch, tmp_path: Path
) -> None:
    newest = f"route:{project.name}@2"
    out, err, _ = said(capsys, project, "release", "start", newest)
    assert "release status --watch" in out
    assert "No gateway" in err
    assert said(capsys, project, "release", "abtest", "stop")[2] == 3
    out, _, _ = said(capsys, project, "release", "status")
    assert "step 1 of 3: 5% of the traffic each" in out
    assert "0 of 50 pairs" in out
    monkeypatch.setenv("UNDERCROFT_KEY", "uc-nobody")
    assert said(capsys, project, "release", "rollback")[2] == 5
    monkeypatch.delenv("UNDERCROFT_KEY")
    said(capsys, project, "release", "rollback", "--reason", "enough")
    _, err, code = said(capsys, project, "release", "status", "--watch")
    assert (code, "enough" in err) == (8, True)
    said(capsys, project, "release", "abtest", "start", newest)
    page = tmp_path / "test.html"
    out, _, _ = said(capsys, project, "release", "abtest", "report", "--html", str(page))
    assert out.startswith(f"A/B test of {newest}")
    assert "<h1>A/B test" in page.read_text()
    out, err, _ = said(capsys, project, "release", "abtest", "stop")
    assert "Ended." in out
    assert f"release start {newest}" in err
