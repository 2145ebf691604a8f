"""One answer's trace: question, answer, sources, where the time went, what it cost."""

from __future__ import annotations

from undercroft.console import figures
from undercroft.console.components import charts, prose
from undercroft.console.components.frame import head, section
from undercroft.console.components.parts import badge, facts, when
from undercroft.console.components.tables import Column, table
from undercroft.console.markup import Child, Markup, h
from undercroft.console.router import Page
from undercroft.console.views import answers
from undercroft.monitor import RequestSummary
from undercroft.records import Finding

_TITLE_CHARS = 140


def render(data: answers.AnswerPage) -> list[Markup]:
    """The sections of the page."""
    asked = data.question or "(the question was erased)"
    title = asked if len(asked) <= _TITLE_CHARS else asked[: _TITLE_CHARS - 1] + "…"
    summary = data.trace.summary
    lead = h("span", "Asked ", when(summary.at), " · ", h("code", summary.id))
    trace = (_answer(data), _timings(data), _facts(data), _findings(data))
    return [
        head(title, lead, (("/answers", "Answers"),), _outcome(summary)),
        h(
            "div",
            h("div", trace, _feedback(data), class_="page"),
            _sources(data),
            class_="columns wide-left",
        ),
    ]


def _outcome(summary: RequestSummary) -> Markup:
    if summary.status not in answers.GOOD:
        return badge(summary.status.capitalize() or "Unknown", "bad")
    if summary.degraded:
        return badge(f"Degraded: {', '.join(summary.degraded)}", "warn")
    return badge("Answered", "good")


def _answer(data: answers.AnswerPage) -> Markup:
    text: Child = h("p", "The answer was erased.", class_="note")
    if data.trace.answer is not None:
        text = prose.answer(data.trace.answer, num_sources=len(data.sources))
    asked = data.trace.question or ""
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
    of = data.trace.summary
    rows: list[tuple[str, Child]] = [
        ("Model", _artifact(of.model)),
        ("Route", _artifact(of.route)),
        ("Time", figures.milliseconds(of.total_ms)),
        ("First token", figures.milliseconds(of.ttft_ms) if of.ttft_ms else "–"),
        ("Tokens", f"{of.prompt_tokens} in, {of.completion_tokens} out"),
        ("Energy", figures.energy(of.energy_wh)),
        ("Cost", figures.money(of.cost)),
        ("Ended by", of.finish_reason),
        ("From the cache", "yes" if of.cached else "no"),
        ("Asked by", of.key),
        ("Lineage", h("a", "Back to the documents", href=f"/lineage/answer:{of.id}")),
    ]
    return section("Trace", h("div", facts(rows, wide=True), class_="card"))


def _artifact(ref: str) -> Child:
    return h("a", ref, href=f"/artifacts/{ref}") if ":" in ref else ref


def _findings(data: answers.AnswerPage) -> Markup | None:
    if not data.trace.findings:
        return None
    columns = (
        Column[Finding]("Kind", lambda each: each.kind),
        Column[Finding]("Rule", lambda each: each.rule),
        Column[Finding]("Score", lambda each: figures.ratio(each.score), "number"),
        Column[Finding]("Where", lambda each: f"{each.start}–{each.end}", "number"),
    )
    return section("Findings", table(columns, data.trace.findings, "Findings"))


def _feedback(data: answers.AnswerPage) -> Markup | None:
    if not data.trace.feedback:
        return None
    items = [
        h(
            "li",
            h(
                "div",
                _thumb(each.rating),
                h("span", "(erased)" if each.comment is None else each.comment),
                class_="grow",
            ),
            when(each.at),
        )
        for each in data.trace.feedback
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
