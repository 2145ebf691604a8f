"""Rollout: a new route beside the live one, watched as it goes, and undone by one button."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from undercroft.console import figures
from undercroft.console.components import charts
from undercroft.console.components.decisions import decision_list
from undercroft.console.components.frame import head, section
from undercroft.console.components.parts import badge, command, empty, facts, when
from undercroft.console.components.tables import Column, table
from undercroft.console.markup import Child, Markup, h
from undercroft.console.router import Page
from undercroft.console.views import rollout
from undercroft.console.views.rollout import Measure, RolloutPage
from undercroft.project import Project
from undercroft.release import rollout as release

if TYPE_CHECKING:
    from nicegui.events import GenericEventArguments

_REFRESH_S = 1.0
_TONES = {"running": "live", "held": "warn", "promoted": "good", "rolled back": "bad"}
_ACTOR = "console"
_REASON = "Asked for in the console."


def render(data: RolloutPage) -> list[Markup]:
    """The sections of the page; `mount` adds the buttons."""
    trial = data.trial
    lead = "A new route meets a share of the traffic; harm takes it back, proof promotes it."
    if trial is None:
        return [
            head("Rollout", lead),
            empty("There was no rollout yet.", "undercroft release start"),
        ]
    status = str(trial["status"])
    beside = badge(status.capitalize(), _TONES.get(status, ""))
    sections = [head("Rollout", lead, (("/models", "Models"),), beside), _facts(data)]
    if data.measures:
        sections.append(section("Measures", table(_COLUMNS, data.measures, "Measures")))
    drawn = [chart for each in data.measures if (chart := _chart(data, each))]
    if drawn:
        sections.append(
            section(
                "Canary minus control", h("div", h("div", drawn, class_="charts"), class_="card")
            )
        )
    if data.decisions:
        sections.append(section("Decisions", decision_list(data.decisions)))
    if data.is_open:
        sections.append(section("By hand", command("undercroft release rollback")))
    return sections


def _facts(data: RolloutPage) -> Markup:
    trial = data.trial
    assert trial is not None
    units = trial["units"]
    rows: list[tuple[str, Child]] = [
        ("Canary", h("a", trial["canary"], href=f"/artifacts/{trial['canary']}")),
        ("Control", h("a", trial["control"], href=f"/artifacts/{trial['control']}")),
        ("Share of each", f"{trial['share']:.0%} of the traffic"),
        ("Units", " against ".join(figures.count(n) for n in units.values()) or "none yet"),
        ("Shadow requests", figures.count(trial["shadows"]) if trial["shadows"] else None),
        ("Begun", when(data.started_at)),
        ("By", str(trial["started_by"])),
        ("Stands", str(trial["reason"])),
    ]
    return h("div", facts(rows, wide=True), class_="card")


def _chart(data: RolloutPage, each: Measure) -> Markup | None:
    points = data.curve(each.name)
    if len(points) < 2:
        return None
    return charts.line(each.name.capitalize(), points, "points" if each.is_rate else "")


def _value(value: float, is_rate: bool) -> str:
    return f"{value:.2%}" if is_rate else f"{value:.3g}"


def _between(each: Measure) -> str:
    def end(value: float | None) -> str:
        if value is None or math.isinf(value):
            return "∞"
        return f"{value * 100:+.1f}" if each.is_rate else f"{value:.2f}"

    unit = "points" if each.is_rate else "times"
    return f"{end(each.low)} to {end(each.high)} {unit}"


_COLUMNS: tuple[Column[Measure], ...] = (
    Column("Measure", lambda each: each.name),
    Column("Control", lambda each: _value(each.control, each.is_rate), "number"),
    Column("Canary", lambda each: _value(each.canary, each.is_rate), "number"),
    Column("Surely within", _between, "optional number"),
    Column("Evidence of harm", lambda each: f"{each.evidence:.2f}", "number"),
    Column("Verdict", lambda each: each.word),
)


def mount(project: Project, data: RolloutPage) -> None:
    """The buttons that end an open rollout, once the question is answered with yes."""
    if not data.is_open:
        return
    from nicegui import ui

    with ui.element("div").style("display:flex;gap:0.75rem;margin-top:0.75rem"):
        _button(ui, "Undo it now", "Take the new route out of the traffic?",
                lambda: release.undo(project, _ACTOR, _REASON))  # fmt: skip
        if not (data.trial or {})["settings"]["approval"]:
            _button(ui, "Promote it", "Serve the new route to everybody?",
                    lambda: release.promote(project, _ACTOR, _REASON))  # fmt: skip


def _button(ui: Any, word: str, question: str, act: Callable[[], object]) -> None:
    from nicegui import run

    async def pressed(_: GenericEventArguments) -> None:
        button.set_visibility(False)
        await run.io_bound(act)

    button = ui.element("button").classes("button").props(f'aria-label="{word}"')
    button.on("click", pressed, js_handler=f"() => confirm({question!r}) && emit()")
    with button:
        ui.html(h("span", word), sanitize=False, tag="span")


PAGE = Page(
    pattern="/rollout",
    title=lambda _: "Rollout",
    load=lambda project, _: rollout.current(project),
    render=render,
    refresh_s=lambda data: _REFRESH_S if data.is_open else 5.0,
    mount=mount,
)
