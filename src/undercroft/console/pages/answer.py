"""One answer's trace: question, answer, sources, where the time went, what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from undercroft.console import figures
from undercroft.console.components import charts, prose
from undercroft.console.components.frame import head, section
from undercroft.console.components.parts import badge, facts, when
from undercroft.console.components.tables import Column, table
from undercroft.console.markup import Child, Markup, h
from undercroft.console.router import Page
from undercroft.console.views import answers

_TITLE_CHARS = 140


def render(data: answers.AnswerPage) -> list[Markup]:
    """The sections of the page."""
    asked = data.question or "(the question was erased)"
    title = asked if len(asked) <= _TITLE_CHARS else asked[: _TITLE_CHARS - 1] + "…"
    lead = h("span", "Asked ", when(data.at), " · ", h("code", data.id))
    trace = (_answer(data), _timings(data), _facts(data), _findings(data))
    return [
        head(title, lead, (("/answers", "Answers"),), _outcome(data)),
        h(
            "div",
            h("div", trace, _feedback(data), class_="page"),
            _sources(data),
            class_="columns wide-left",
        ),
    ]


def _outcome(data: answers.AnswerPage) -> Markup:
    status = str(data.detail.get("status") or "")
    if status not in answers.GOOD:
        return badge(status.replace("_", " ").capitalize() or "Unknown", "bad")
    degraded = str(data.detail.get("degraded") or "")
    return badge(f"Degraded: {degraded}", "warn") if degraded else badge("Answered", "good")


def _answer(data: answers.AnswerPage) -> Markup:
    text: Child = h("p", "The answer was erased.", class_="note")
    if data.answer is not None:
        text = prose.answer(data.answer, num_sources=len(data.sources))
    asked = data.transcript or ""
    whole = None
    if asked != data.question or len(asked) > _TITLE_CHARS:
        whole = h("details", h("summary", "What was asked in full"), h("pre", asked))
    return section("Answer", h("div", text, class_="card"), whole)


def _sources(data: answers.AnswerPage) -> Markup:
    if not data.sources:
        return section("Sources", h("p", "No document was shown to the model.", class_="note"))
    return section("Sources", prose.sources(data.sources))


def _timings(data: answers.AnswerPage) -> Markup:
    total = figures.milliseconds(sum(value for _, value in data.timings))
    label = f"{total} in all: " + ", ".join(
        f"{name.lower()} {figures.milliseconds(value)}" for name, value in data.timings
    )
    bar = charts.split(data.timings, label)
    return section("Where the time went", h("div", bar, class_="card"))


def _facts(data: answers.AnswerPage) -> Markup:
    detail = data.detail
    model, route = str(detail.get("model") or ""), str(detail.get("route") or "")
    rows: list[tuple[str, Child]] = [
        ("Model", _artifact(model)),
        ("Route", _artifact(route)),
        ("Time", figures.milliseconds(detail.get("total_ms"))),
        ("First token", figures.milliseconds(detail.get("ttft_ms"))),
        (
            "Tokens",
            f"{detail['prompt_tokens'] or 0} in, {detail['completion_tokens'] or 0} out",
        ),
        ("Energy", figures.energy(detail.get("energy_wh") or 0)),
        ("Cost", figures.money(detail.get("cost") or 0)),
        ("Ended by", detail.get("finish_reason")),
        ("From the cache", "yes" if detail.get("cached") else "no"),
        ("Asked by", detail.get("key")),
        ("Lineage", h("a", "Back to the documents", href=f"/lineage/answer:{data.id}")),
    ]
    return section("Trace", h("div", facts(rows, wide=True), class_="card"))


def _artifact(ref: str) -> Child:
    return h("a", ref, href=f"/artifacts/{ref}") if ":" in ref else ref


def _findings(data: answers.AnswerPage) -> Markup | None:
    if not data.findings:
        return None
    columns = (
        Column[Mapping[str, Any]]("Kind", lambda row: row["kind"]),
        Column[Mapping[str, Any]]("Rule", lambda row: row["rule"]),
        Column[Mapping[str, Any]]("Score", lambda row: figures.ratio(row["score"] or 0), "number"),
        Column[Mapping[str, Any]]("Where", lambda row: f"{row['start']}–{row['end']}", "number"),
    )
    return section("Findings", table(columns, list(data.findings), "Findings"))


def _feedback(data: answers.AnswerPage) -> Markup | None:
    if not data.feedback:
        return None
    items = [
        h(
            "li",
            h("div", _thumb(each.rating), h("span", each.comment), class_="grow"),
            when(each.at),
        )
        for each in data.feedback
    ]
    return section("Feedback", h("div", h("ul", items, class_="list"), class_="card flush"))


def _thumb(rating: int) -> Markup:
    if not rating:
        return badge("Comment")
    return badge("Thumbs up", "good") if rating > 0 else badge("Thumbs down", "warn")


PAGE = Page(
    pattern="/answers/{id}",
    title=lambda data: (data.question or "Answer")[:60],
    load=lambda project, at: answers.one(project, at.values["id"]),
    render=render,
)
