"""The list of runs."""

from __future__ import annotations

from undercroft.console import figures
from undercroft.console.components.frame import head
from undercroft.console.components.parts import empty, status, when
from undercroft.console.components.tables import Column, choices, pager, row_link, table
from undercroft.console.markup import Markup, h
from undercroft.console.router import Address, Page
from undercroft.console.views import runs

_REFRESH_S = 2.0


def render(data: tuple[runs.RunList, Address]) -> list[Markup]:
    """The sections of the page."""
    found, at = data
    filters = choices(
        [("All", at.with_query(status=None, page=None), not found.status)]
        + [
            (name.capitalize(), at.with_query(status=name, page=None), found.status == name)
            for name in runs.STATUSES
        ]
    )
    title = head("Runs", "Every execution of a stage: what went in, what came out, what it cost.")
    if not found.runs.rows:
        if found.status or found.runs.page > 1:
            return [title, filters, empty("No run here.")]
        return [title, empty("Nothing ran yet.", "undercroft up")]
    return [
        title,
        filters,
        table(COLUMNS, found.runs.rows, "Runs"),
        pager(found.runs, lambda number: at.with_query(page=number), "run"),
    ]


def _outputs(row: runs.RunRow) -> Markup:
    if row.run.error:
        last = row.run.error.strip().splitlines()[-1]
        return h("span", last, title=last)
    made = ", ".join(map(str, row.run.outputs))
    return h("span", made or "–", title=made)


def _progress(row: runs.RunRow) -> str:
    at = row.progress
    if at is None or not at.total:
        return figures.seconds(row.seconds)
    return f"{figures.share(at.done / at.total)} · {figures.seconds(row.seconds)}"


COLUMNS: tuple[Column[runs.RunRow], ...] = (
    Column("Stage", lambda row: row_link(f"/runs/{row.run.id}", row.run.stage)),
    Column("Status", lambda row: status(row.run.status)),
    Column("Made", _outputs, "main"),
    Column("Time", _progress, "number"),
    Column("Energy", lambda row: figures.energy(row.run.footprint.energy_wh), "optional number"),
    Column("Started", lambda row: when(row.run.started_at), "optional number"),
)

PAGE = Page(
    pattern="/runs",
    title=lambda _: "Runs",
    load=lambda project, at: (
        runs.listed(project, at.page, at.query.get("status", ""), at.query.get("stage", "")),
        at,
    ),
    render=render,
    refresh_s=lambda data: (
        _REFRESH_S if any(row.run.status == "running" for row in data[0].runs.rows) else None
    ),
)
