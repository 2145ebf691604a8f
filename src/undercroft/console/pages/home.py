"""Home: what is served, what needs somebody, what just ran."""

from __future__ import annotations

from undercroft.console import figures
from undercroft.console.components.frame import head, section
from undercroft.console.components.parts import (
    badge,
    command,
    empty,
    facts,
    figure_row,
    progress,
    silence,
    status,
    when,
)
from undercroft.console.markup import Markup, h
from undercroft.console.router import Page
from undercroft.console.views import home
from undercroft.console.views.runs import RunRow

_REFRESH_S = 2.0
_REFRESH_IDLE_S = 15.0


def render(data: home.Home) -> list[Markup]:
    """The sections of the page."""
    if not data.recent and not data.route:
        return [
            head(data.title),
            empty(
                "This project is empty. One command collects its documents, trains a model on "
                "them, and serves it here.",
                "undercroft up",
            ),
        ]
    return [
        head(data.title, _lead(data), beside=_state(data)),
        _figures(data),
        h("div", _needs(data), _served(data), class_="columns"),
        section("What just ran", _recent(data), more=("/runs", "All runs")),
    ]


def _lead(data: home.Home) -> str:
    if data.running:
        return "The road from documents to answers is being walked right now."
    if data.serving.healthy:
        return "The assistant is up and answers from your documents."
    return "Nothing is running. What was made is kept and can be looked at."


def _state(data: home.Home) -> Markup:
    if data.serving.healthy:
        return badge("Serving", "good")
    return badge("Gateway silent", "bad") if data.serving.url else badge("Not serving")


def _figures(data: home.Home) -> Markup:
    rows: list[tuple[str, str, str | None]] = []
    if data.documents:
        kept, removed = data.documents
        rows.append((figures.count(kept), "documents kept", "/documents?state=kept"))
        rows.append((figures.count(removed), "removed", "/documents?state=removed"))
    if data.today:
        day = data.today
        rows.append((figures.count(day.requests), "answers in 24 hours", "/answers"))
        rows.append((figures.milliseconds(day.total_ms_p50), "median time", "/answers"))
        thumbs = f"{day.thumbs_up} / {day.thumbs_down}"
        rows.append((thumbs, "thumbs up / down", "/answers?show=down"))
        rows.append((figures.energy(day.energy_wh), "energy", None))
    return figure_row(rows) if rows else h("div")


def _needs(data: home.Home) -> Markup:
    if not data.needs:
        content = h("div", h("p", "Nothing right now.", class_="note"), class_="card")
    else:
        content = h("div", h("ul", map(_need, data.needs), class_="list"), class_="card flush")
    return section("What needs you", content)


def _need(need: home.Need) -> Markup:
    name = h("a", need.what, href=need.href, class_="row") if need.href else h("b", need.what)
    return h(
        "li",
        h("span", badge("", "bad" if need.urgent else "warn"), class_="mark"),
        h(
            "div",
            name,
            h("span", need.why, class_="note") if need.why else None,
            command(need.command) if need.command else None,
            class_="grow",
        ),
    )


def _served(data: home.Home) -> Markup:
    if data.route is None:
        content = empty("No model was released yet.", "undercroft up")
        return section("What is served", content)
    meta = data.route.meta
    model = str(meta.get("model") or "")
    rows = [
        ("Model", h("a", model, href=f"/artifacts/{model}") if model else None),
        ("Route", h("a", str(data.route.ref), href=f"/artifacts/{data.route.ref}")),
        ("Since", when(data.route.created_at)),
        ("Why", str(meta.get("reason") or "")),
        ("API", h("code", data.serving.url) if data.serving.url else "not running"),
    ]
    ask = h("a", "Ask it something", href="/chat", class_="button primary")
    lineage = h("a", "Where it came from", href=f"/lineage/{data.route.ref}", class_="button")
    actions = h("div", ask if data.serving.healthy else None, lineage, class_="actions")
    return section(
        "What is served", h("div", h("div", facts(rows), actions, class_="section"), class_="card")
    )


def _recent(data: home.Home) -> Markup:
    if not data.recent:
        return empty("Nothing ran yet.", "undercroft up")
    return h("div", h("ul", map(_run, data.recent), class_="list"), class_="card flush")


def _run(row: RunRow) -> Markup:
    run, at = row.run, row.progress
    bar = (progress(at, row.seconds_left) if at else None, silence(row.silent_s))
    return h(
        "li",
        h("div", h("a", run.stage, href=f"/runs/{run.id}", class_="row"), bar, class_="grow"),
        h("span", figures.seconds(row.seconds), class_="when end"),
        h("span", status(run.status), class_="end"),
        h("span", when(run.started_at), class_="end"),
    )


PAGE = Page(
    pattern="/",
    title=lambda _: "Home",
    load=lambda project, _: home.read(project),
    render=render,
    refresh_s=lambda data: _REFRESH_S if data.running else _REFRESH_IDLE_S,
)
