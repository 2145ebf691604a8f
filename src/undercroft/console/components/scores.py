"""Scorecards: base against tuned, metric by metric."""

from __future__ import annotations

from undercroft.console import figures
from undercroft.console.components import charts
from undercroft.console.components.parts import badge
from undercroft.console.components.tables import Column, table
from undercroft.console.markup import Markup, h
from undercroft.console.views.models import Score, Scorecard


def scorecard(card: Scorecard) -> Markup:
    """The metrics as a table; perplexities have a line of their own length."""
    if not card.scores:
        return h("p", "This scorecard holds no metrics.", class_="note")
    metrics = table(COLUMNS, card.scores, "Base against tuned")
    return h("div", metrics, _verdict(card), class_="section")


def _verdict(card: Scorecard) -> Markup:
    cases = f"{figures.plural(card.cases, 'held-out case')}" if card.cases else ""
    if card.significant is None:
        return h("p", cases, class_="note")
    word = "Significantly better" if card.significant else "Not significantly better"
    tone = "good" if card.significant else "warn"
    return h("p", badge(word, tone), h("span", f"  on {cases}" if cases else "", class_="note"))


def _change(score: Score) -> Markup:
    change = score.tuned - score.base
    better = change < 0 if score.lower_is_better else change > 0
    sign = "+" if change > 0 else "−" if change < 0 else "±"
    tone = "" if change == 0 else "better" if better else "worse"
    return h("span", f"{sign}{_value(abs(change))}", class_=f"change {tone}")


def _value(value: float) -> str:
    return figures.ratio(value) if abs(value) < 10 else f"{value:.1f}"


COLUMNS: tuple[Column[Score], ...] = (
    Column("Metric", lambda score: score.title),
    Column("Base", lambda score: _value(score.base), "number"),
    Column("Tuned", lambda score: h("b", _value(score.tuned)), "number"),
    Column("Change", _change, "number"),
    Column(
        "",
        lambda score: charts.dumbbell(score.base, score.tuned, score.lower_is_better),
        "optional",
    ),
)
