"""Scorecards: base against tuned, metric by metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
    cases = figures.plural(card.cases, "held-out case") if card.cases else ""
    found = card.retrieval.get("hit_rate")
    retrieval = ""
    if found is not None:
        retrieval = f"Retrieval found the right passage for {figures.share(found)} of them."
    verdict = None
    if card.significant is not None:
        word = "Significantly better" if card.significant else "Not significantly better"
        verdict = badge(word, "good" if card.significant else "warn")
    note = f"on {cases}. {retrieval}" if verdict else f"{cases}. {retrieval}"
    return h("div", verdict, h("span", note, class_="note"), class_="actions")


def _change(score: Score) -> Markup:
    change = score.tuned - score.base
    better = change < 0 if score.lower_is_better else change > 0
    sign = "+" if change > 0 else "−" if change < 0 else "±"
    tone = "" if change == 0 else "better" if better else "worse"
    return h("span", f"{sign}{_value(abs(change))}", class_=f"change {tone}")


def _interval(score: Score) -> Markup:
    if score.interval is None:
        return h("span", "–")
    low, high = score.interval
    return h("span", f"{low:+.3f} … {high:+.3f}".replace("-", "−"), class_="quiet")


def _value(value: float) -> str:
    return figures.ratio(value) if abs(value) < 10 else f"{value:.1f}"


COLUMNS: tuple[Column[Score], ...] = (
    Column("Metric", lambda score: score.title),
    Column("Base", lambda score: _value(score.base), "number"),
    Column("Tuned", lambda score: h("b", _value(score.tuned)), "number"),
    Column("Change", _change, "number"),
    Column("Interval", _interval, "optional number"),
    Column(
        "From base to tuned",
        lambda score: charts.dumbbell(score.base, score.tuned, score.lower_is_better),
        "optional",
        is_plain=True,
    ),
)


def case_list(cases: Sequence[Mapping[str, Any]]) -> Markup:
    """Cases one after the other: what was asked, what was wanted, what each model said."""
    return h("div", map(_case, cases), class_="section")


def _case(case: Mapping[str, Any]) -> Markup:
    wanted = case["reference"] if case["answerable"] else "(not in the documents)"
    sides = (("Wanted", wanted, ""), *(_side(case, side) for side in ("base", "tuned")))
    return h(
        "article",
        h("p", case["question"], class_="question"),
        h("dl", [(h("dt", name, note), h("dd", text)) for name, text, note in sides],
          class_="facts said"),
        class_="card section",
    )  # fmt: skip


def _side(case: Mapping[str, Any], side: str) -> tuple[str, str, Markup]:
    said = case[side]
    f1 = said["scores"].get("answer_f1")
    note = h("span", f"F1 {figures.ratio(f1)}" if f1 is not None else "", class_="under note")
    return side.capitalize(), said["answer"] or "(nothing)", note
