"""The list of answers."""

from __future__ import annotations

from undercroft.console import figures
from undercroft.console.components.frame import head
from undercroft.console.components.parts import badge, empty, when
from undercroft.console.components.tables import Column, choices, pager, row_link, table
from undercroft.console.markup import Child, Markup, h
from undercroft.console.router import Address, Page
from undercroft.console.views import answers

_FILTERS = (
    ("", "All"),
    ("down", "Thumbs down"),
    ("up", "Thumbs up"),
    ("failed", "Failed"),
    ("findings", "With findings"),
)
_REFRESH_S = 10.0


def render(data: tuple[answers.AnswerList, Address]) -> list[Markup]:
    """The sections of the page."""
    found, at = data
    title = head("Answers", "Every answer given, and everything it rests on.")
    filters = choices(
        [
            (word, at.with_query(show=key or None, page=None), found.filter == key)
            for key, word in _FILTERS
        ]
    )
    if not found.answers.rows:
        if found.filter or found.answers.page > 1:
            return [title, filters, empty("No answer here.")]
        return [title, empty("Nobody asked anything yet.", 'undercroft ask "…"')]
    return [
        title,
        filters,
        table(COLUMNS, found.answers.rows, "Answers"),
        pager(found.answers, lambda number: at.with_query(page=number), "answer"),
    ]


def _outcome(row: answers.AnswerRow) -> Child:
    if row.status not in answers.GOOD:
        return badge(row.status.replace("_", " ").capitalize(), "bad")
    if row.rating:
        return badge("Thumbs up", "good") if row.rating > 0 else badge("Thumbs down", "warn")
    return h("span", "from the cache", class_="note") if row.cached else None


COLUMNS: tuple[Column[answers.AnswerRow], ...] = (
    Column(
        "Question",
        lambda row: row_link(f"/answers/{row.id}", row.question or "(erased)"),
        "main",
    ),
    Column("Outcome", _outcome, is_plain=True),
    Column("Model", lambda row: row.model, "optional"),
    Column("Tokens", lambda row: figures.count(row.completion_tokens), "optional number"),
    Column("Time", lambda row: figures.milliseconds(row.total_ms), "number"),
    Column("When", lambda row: when(row.at), "number"),
)

PAGE = Page(
    pattern="/answers",
    title=lambda _: "Answers",
    load=lambda project, at: (answers.listed(project, at.page, at.query.get("show", "")), at),
    render=render,
    refresh_s=lambda data: _REFRESH_S if data[0].answers.page == 1 else None,
)
