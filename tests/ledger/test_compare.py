"""Runs side by side: what differs is shown, and the page holds every curve."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from undercroft.cli.main import main
from undercroft.errors import BadInput, NotFound
from undercroft.ledger import Ledger, MadeArtifact, compare
from undercroft.ledger.plots import Line, picture, smoothed
from undercroft.ledger.report import as_html
from undercroft.project import Project
from undercroft.records import Footprint


def trained(ledger: Ledger, rate: float, losses: list[float], seed: int = 7) -> str:
    """The ref of a model that a run of these losses made."""
    params = {"learning_rate": rate, "seed": seed}
    run = ledger.begin_run("train", f"work-{rate}-{losses[0]}", params, [])
    for step, loss in enumerate(losses, 1):
        ledger.log_event(run.id, "metric", {"step": step, "loss": loss, "lr": rate})
    ledger.log_event(run.id, "skipped_step", {"step": 2})
    digest = f"{rate}"
    made = MadeArtifact("model", "docs", digest, f"blob:model/docs/{digest}", 1, {"steps": 3})
    (artifact,) = ledger.finish_run(run.id, [made], Footprint(wall_s=2.0))
    return str(artifact.ref)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Project.open(tmp_path).ledger


def test_what_differs_is_shown_with_who_is_better(ledger: Ledger) -> None:
    first = trained(ledger, 1e-3, [4.0, 3.0, 2.0])
    second = trained(ledger, 2e-3, [4.0, 2.0, 1.0])
    found = dict(compare.rows([compare.side(ledger, name) for name in (first, second)]))
    assert found["made"] == [first, second]
    assert found["learning_rate"] == ["0.001", "0.002"]
    assert found["loss at the end"] == ["2", "1 (-50.0% better)"]
    assert found["lr at the end"][1] == "0.002 (+100.0%)"
    assert found["skipped step"] == ["1", "1"]
    assert "seed" not in found
    assert "steps" not in found  # a fact of both, and the same


def test_a_run_is_named_by_its_id_or_by_what_it_made(ledger: Ledger) -> None:
    ref = trained(ledger, 1e-3, [2.0])
    (run,) = ledger.runs()
    assert compare.side(ledger, ref).run == compare.side(ledger, run.id).run == run
    with pytest.raises(NotFound, match="no run 'nope'"):
        compare.side(ledger, "nope")


def test_runs_of_different_stages_are_refused(ledger: Ledger) -> None:
    one = trained(ledger, 1e-3, [2.0])
    run = ledger.begin_run("curate", "other", {}, [])
    ledger.finish_run(run.id, [], Footprint())
    with pytest.raises(BadInput, match="curate and train cannot be compared"):
        compare.rows([compare.side(ledger, one), compare.side(ledger, run.id)])


def test_a_page_has_a_line_for_each_curve_and_survives_what_is_not_finite(ledger: Ledger) -> None:
    first = trained(ledger, 1e-3, [4.0, math.nan, 2.0])
    second = trained(ledger, 2e-3, [4.0, 2.0, 1.0])
    page = as_html([compare.side(ledger, name) for name in (first, second)])
    drawn = re.findall(r"<svg.*?</svg>", page)
    assert len(drawn) == 2  # loss and learning rate
    for svg in drawn:
        root = ElementTree.fromstring(svg)
        lines = root.findall("{http://www.w3.org/2000/svg}polyline")
        assert len(lines) == 4  # as measured and smoothed, of each
        assert not re.search(r"nan|inf", " ".join(line.attrib["points"] for line in lines))
    assert picture([Line(compare.Curve([1], [0.0], [math.nan]), 0)], "loss").startswith("<p>")


def test_smoothing_keeps_constants_and_short_runs(ledger: Ledger) -> None:
    assert smoothed([3.0] * 100) == pytest.approx([3.0] * 100)
    assert smoothed([1.0, 2.0, 3.0]) == [1.0, 2.0, 3.0]


def test_commands_compare_report_and_still_show(
    ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (trained(ledger, rate, [4.0, rate]) for rate in (1e-3, 2e-3))
    project = ["--project", str(tmp_path), "runs"]
    page = tmp_path / "both.html"

    def said(*arguments: str) -> str:
        main([*project, *arguments])
        return capsys.readouterr().out

    assert "learning_rate" in said("compare", first, second, "--html", str(page))
    assert page.read_text().startswith("<!doctype html>")
    one = tmp_path / "one.html"
    assert said("report", first, "--html", str(one)).strip() == str(one)
    assert one.exists()
    run = ledger.run_of(first)
    assert run.id in said("--stage", "train")
    assert f"id           {run.id}" in said(run.id)
    for arguments in ((run.id, "--json"), ("--json", run.id)):
        assert '"kind": "metric"' in said(*arguments)


def test_a_page_that_cannot_be_written_is_told(ledger: Ledger, tmp_path: Path) -> None:
    ref = trained(ledger, 1e-3, [2.0])
    with pytest.raises(SystemExit) as stopped:
        main(
            ["-C", str(tmp_path), "runs", "report", ref, "--html", str(tmp_path / "no" / "p.html")]
        )
    assert stopped.value.code != 0
