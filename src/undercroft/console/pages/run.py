"""One run: how far it is, what went in and came out, its curves and its cost."""

from __future__ import annotations

import json
from collections.abc import Sequence

from undercroft.console import figures
from undercroft.console.components import charts
from undercroft.console.components.decisions import decision_list
from undercroft.console.components.errors import notice
from undercroft.console.components.frame import head, section
from undercroft.console.components.parts import facts, progress, silence, status, when
from undercroft.console.components.tables import Column, row_link, table
from undercroft.console.markup import Child, Markup, h, join
from undercroft.console.router import Page
from undercroft.console.views import runs
from undercroft.ledger import strips
from undercroft.ledger.marks import Mark
from undercroft.ledger.strips import Strip
from undercroft.records import Artifact


def render(data: runs.RunPage) -> list[Markup]:
    """The sections of the page."""
    run = data.run
    crumbs = (("/runs", "Runs"), (f"/runs?stage={run.stage}", run.stage))
    sections = [head(h("span", run.stage), _lead(data), crumbs, status(run.status))]
    if run.status == "running":
        sections.append(_progress(data))
    if run.error:
        sections.append(_error(run.error))
    sections.extend(_curves([curve for curve in data.curves if not curve.is_cost]))
    if data.marks:
        sections.append(section("What deserved notice", _noticed(data.marks)))
    if data.strips:
        sections.append(section("Inside the model", _strips(data.strips)))
    costs = [
        charts.line(each.title, each.points, each.unit) for each in data.curves if each.is_cost
    ]
    if costs:
        drawn = h("div", h("div", costs, class_="charts"), class_="card")
        sections.append(section("What steps cost", drawn))
    inputs = _artifacts(data.inputs, "This stage starts from nothing.")
    outputs = _artifacts(data.outputs, "Nothing yet." if run.status == "running" else "Nothing.")
    went = (section("What went in", inputs), section("What came out", outputs))
    sections.append(h("div", went, class_="columns"))
    sections.append(h("div", _cost(data), _params(data), class_="columns"))
    if data.decisions:
        sections.append(section("Decisions", decision_list(data.decisions)))
    if data.events:
        sections.append(section("Events", _events(data)))
    return sections


def _lead(data: runs.RunPage) -> Child:
    run = data.run
    again = f", attempt {run.attempt}" if run.attempt > 1 else ""
    return h("span", "Started ", when(run.started_at), f"{again} · ", h("code", run.id))


def _progress(data: runs.RunPage) -> Markup:
    at = data.row.progress
    if at is None:
        nothing = h("p", "It has not said yet how far it is.", class_="note")
        return join(nothing, silence(data.row.silent_s))
    return h("div", progress(at, data.row.seconds_left), silence(data.row.silent_s), class_="card")


def _error(error: str) -> Markup:
    lines = error.strip().splitlines()
    return notice(lines[-1], detail=error if len(lines) > 1 else "")


def _curves(curves: Sequence[runs.Curve]) -> list[Markup]:
    if not curves:
        return []
    first, *others = curves
    small = [charts.line(curve.title, curve.points, curve.unit) for curve in others]
    return [
        h(
            "div",
            charts.line(first.title, first.points, first.unit, smooth=True),
            h("div", small, class_="charts") if small else None,
            class_="card section",
        )
    ]


def _noticed(marks: Sequence[Mark]) -> Markup:
    """The last first, with the documents of the batch."""
    columns = (
        Column[Mark]("Step", lambda mark: figures.count(mark.step)),
        Column[Mark]("What", lambda mark: mark.words),
        Column[Mark]("Why", lambda mark: mark.why),
        Column[Mark]("Documents of the batch", lambda mark: mark.shown_names, "main"),
    )
    return table(columns, list(reversed(marks)), "What deserved notice")


def _strips(found: Sequence[Strip]) -> Markup:
    """A row for each block, a column for each look; of sizes, a row for each power of two."""
    drawn = [
        h("figure", h("figcaption", h("b", each.title), class_="chart-head"),
          Markup(strips.drawn(each)), class_="chart", style="margin:0")
        for each in found
    ]  # fmt: skip
    return h("div", h("div", drawn, class_="charts wide"), class_="card")


def _artifacts(artifacts: Sequence[Artifact], nothing: str) -> Markup:
    if not artifacts:
        return h("p", nothing, class_="note")
    items = [
        h(
            "li",
            h("div", row_link(f"/artifacts/{made.ref}", str(made.ref)), class_="grow"),
            h("span", figures.size(made.size_bytes) if made.size_bytes else "", class_="when"),
        )
        for made in artifacts
    ]
    return h("div", h("ul", items, class_="list"), class_="card flush")


def _cost(data: runs.RunPage) -> Markup:
    used = data.run.footprint
    rows: list[tuple[str, Child]] = [("Time", figures.seconds(data.row.seconds))]
    if data.run.status != "running":
        rows += [
            ("Processor time", figures.seconds(used.cpu_s)),
            ("Peak memory", figures.size(used.peak_rss_bytes)),
            ("Energy", f"{figures.energy(used.energy_wh)} ({used.energy_is})"),
            ("Money", figures.money(used.money)),
        ]
    return section("What it cost", h("div", facts(rows), class_="card"))


def _params(data: runs.RunPage) -> Markup:
    rows = [(key, h("code", _written(value))) for key, value in sorted(data.run.params.items())]
    content = facts(rows) if rows else h("p", "This stage has no parameters.", class_="note")
    return section("Parameters", h("div", content, class_="card"))


def _written(value: object) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, default=str)


def _events(data: runs.RunPage) -> Markup:
    columns = (
        Column[tuple[object, str, object]]("When", lambda event: when(event[0])),  # type: ignore[arg-type]
        Column[tuple[object, str, object]]("Event", lambda event: event[1]),
        Column[tuple[object, str, object]](
            "Detail", lambda event: h("code", json.dumps(event[2], default=str)), "main"
        ),
    )
    return table(columns, list(reversed(data.events)), "Events")


PAGE = Page(
    pattern="/runs/{id}",
    title=lambda data: f"{data.run.stage} run",
    load=lambda project, at: runs.one(project, at.values["id"]),
    render=render,
    refresh_s=lambda data: data.refresh_s,
)
