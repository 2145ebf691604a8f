"""What deserved notice stands where it happened: on curves, in tables, and in a terminal."""

from __future__ import annotations

import json
import re
import threading
import time
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from undercroft.cli.main import main
from undercroft.console.pages import run as run_page
from undercroft.console.views import runs as views
from undercroft.ledger import compare, observed, plots
from undercroft.ledger.marks import marks_of
from undercroft.ledger.observed import NUM_BINS, Activity, Block, Look, Spread
from undercroft.ledger.report import as_html
from undercroft.project import Project
from undercroft.records import Footprint

NAMES = [f"doc-{number}" for number in range(15)]
BAD = {"step": 4, "cause": "spike", "loss": "9.25", "grad_norm": "30", "documents": NAMES}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.open(tmp_path)


def begun(project: Project) -> str:
    """A run that skipped a step, went back, was killed after step 6 and resumed from 5."""
    run = project.ledger.begin_run("train", "work", {"seed": 1}, [])
    happened: list[tuple[str, dict[str, Any]]] = []
    for step in (1, 2, 3, 5, 6):
        point = {"step": step, "loss": 5.0 - step / 2, "pair_accuracy": step / 10}
        happened.append(("metric", {**point, "passes_s": 1.0, "update_s": 0.5, "tokens": step}))
    happened.insert(3, ("skipped_step", BAD))
    happened.insert(4, ("rolled_back", {**BAD, "to_step": 2}))
    happened += [("resumed", {"step": 5}), ("metric", {"step": 6, "loss": 1.0, "passes_s": 1.0})]
    happened.append(("metric", {"step": 7, "loss": 0.5, "heldout_loss": 3.0, "passes_s": 1.0}))
    log(project, run.id, happened)
    spread = Spread([0] * 20 + [3, 5] + [0] * (NUM_BINS - 22), 1, 2.0)
    block = Block({"weights": spread, "gradients": spread}, Activity(100, 50.0, 9.0, 3, 2))
    for step in (1, 5):
        record = Look(step, {"layers.0": block, "layers.1": block}).as_dict()
        observed.append(observed.path_of(project.state, run.id), record)
    return run.id


def log(project: Project, run_id: str, happened: list[tuple[str, dict[str, Any]]]) -> None:
    now = datetime.now(UTC)
    project.ledger.log_events(run_id, [(now, kind, detail) for kind, detail in happened])


def test_steps_that_were_taken_again_count_once(project: Project) -> None:
    side = compare.side(project.ledger, begun(project))
    assert list(side.curves["loss"].steps) == [1, 2, 3, 5, 6, 7]
    assert list(side.curves["loss"].values) == [4.5, 4.0, 3.5, 2.5, 1.0, 0.5]
    assert [(mark.step, mark.words) for mark in side.marks] == [
        (4, "step skipped"), (4, "rolled back to step 2"), (5, "resumed"),
    ]  # fmt: skip
    assert side.marks[0].why == "spike, loss 9.25, grad norm 30"
    assert side.marks[0].shown_names.endswith("doc-11 and 3 more")


def test_a_mark_that_was_told_twice_is_there_once() -> None:
    at = datetime.now(UTC)
    twice = [(at, "skipped_step", BAD)] * 2 + [(at, "checkpoint_failed", {"step": 3})]
    assert len(marks_of(twice)) == 1


def test_a_halved_loss_scale_is_marked_at_its_step() -> None:
    event = (datetime.now(UTC), "scale_halved", {"step": 3, "scale": 32768.0, "examples": ["a"]})
    (mark,) = marks_of([event])
    assert (mark.step, mark.words) == (3, "loss scale halved")


def test_all_that_two_runs_measured_is_compared(project: Project) -> None:
    one = begun(project)
    project.ledger.finish_run(one, [], Footprint())
    params = {"seed": 2, "parallel": {"processes": 3}}
    other = project.ledger.begin_run("train", "other", params, []).id
    log(project, other, [("metric", {"step": 1, "pair_accuracy": 0.9, "passes_s": 0.5})])
    found = dict(compare.rows([compare.side(project.ledger, name) for name in (one, other)]))
    assert found["pair_accuracy at the end"] == ["0.5", "0.9 (+80.0% better)"]
    assert found["passes_s at the end"] == ["1", "0.5 (-50.0% better)"]
    assert found["heldout_loss at the end"] == ["3", "-"]
    assert found["parallel.processes"] == ["", "3"]
    assert list(found).index("loss at the end") < list(found).index("pair_accuracy at the end")
    assert "tokens at the end" not in found


def test_a_page_shows_marks_documents_parts_and_strips_without_a_network(project: Project) -> None:
    page = as_html([compare.side(project.ledger, begun(project), project.state)])
    drawn = [ElementTree.fromstring(each) for each in re.findall(r"<svg.*?</svg>", page)]
    assert all("viewBox" in each.attrib for each in drawn)
    assert page.count('class="band"') == page.count("step 4: rolled back to step 2") > 0
    assert "doc-14" in page
    assert "- ● - held out" in page
    assert "where a step's time goes" in page.replace("&#x27;", "'")
    for title in ("Gradients, by block", "Sizes of weights", "Activations, by block"):
        assert title in page
    outside = re.findall(r'(?:src|href)="(?!data:)[^"]*"', page)
    assert not outside
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_far_outliers_do_not_flatten_a_curve() -> None:
    values = [2.0 + 0.01 * (at % 7) for at in range(100)]
    values[50] = 1e6
    curve = compare.Curve(list(range(100)), [0.0] * 100, values)
    svg = plots.picture([plots.Line(curve, 0)], "loss")
    labels = re.findall(r'text-anchor="end">([^<]+)</text>', svg)
    assert max(float(each.replace(",", "")) for each in labels[:4]) < 3
    assert max(plots.smoothed(values)) < 2.1


def test_ticks_are_round_and_cover_what_is_shown() -> None:
    assert plots.ticks(0.13, 0.97) == pytest.approx([0, 0.5, 1.0])
    assert plots.ticks(5, 5)[0] < 5 < plots.ticks(5, 5)[-1]
    assert plots.step_ticks(1, 400) == [1, 100, 200, 300, 400]
    assert [plots.number(each) for each in (0, 1e-5, 0.25, 9000, 2.5e6)] == [
        "0", "1.0e-5", "0.25", "9,000", "2.5M",
    ]  # fmt: skip


def test_the_console_shows_every_metric_marks_and_strips_and_reads_long_runs_less_often(
    project: Project,
) -> None:
    run_id = begun(project)
    page = views.one(project, run_id)
    titles = {curve.title: curve.is_cost for curve in page.curves}
    assert titles["Pair accuracy"] is False
    assert titles["Forward and backward"] is True
    html = "".join(run_page.render(page))
    assert "rolled back to step 2" in html
    assert "doc-0, doc-1" in html
    assert "Gradients, by block" in html
    assert html.count("data:image/png") >= 2 * len(page.strips)
    first = page.refresh_s
    log(project, run_id, [("metric", {"step": n, "loss": 1.0}) for n in range(8, 9000)])
    later = views.one(project, run_id).refresh_s
    assert first is not None
    assert later is not None
    assert first < 1.01 < 1.3 < later
    project.ledger.finish_run(run_id, [], Footprint())
    assert views.one(project, run_id).refresh_s is None


def test_a_run_is_followed_to_its_end(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = begun(project)

    def finish() -> None:
        time.sleep(0.4)
        log(project, run_id, [("metric", {"step": 8, "loss": 0.25})])
        project.ledger.finish_run(run_id, [], Footprint())

    other = threading.Thread(target=finish)
    other.start()
    main(["-C", str(tmp_path), "runs", "watch", "--json", "--every", "0.1"])
    other.join()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "metric"][-2:] == [7, 8]
    assert lines[-1] == {"run": run_id, "kind": "ended", "status": "finished"}
    main(["-C", str(tmp_path), "runs", "watch", run_id])
    assert capsys.readouterr().out.strip() == f"{run_id}  finished"


def test_the_screen_of_a_run_names_every_metric(project: Project) -> None:
    from rich.console import Console

    from undercroft.cli.following import _screen

    run_id = begun(project)
    project.ledger.report_progress(run_id, 7, 20, "steps", "loss 0.5, 3 s left")
    ledger = project.ledger
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(_screen(ledger.run(run_id), ledger.progress(run_id), ledger.events(run_id)))
    said = console.export_text()
    for word in ("pair_accuracy", "heldout_loss", "7 of 20 steps", "step 4: rolled back", "▁"):
        assert word in said
