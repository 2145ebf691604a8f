"""Decisions: what was released, refused, rolled back or erased, why, and by whom."""

from __future__ import annotations

from collections.abc import Sequence

from undercroft.console.components.parts import badge, when
from undercroft.console.markup import Markup, h
from undercroft.records import Decision

_TONES = {"released": "good", "refused": "warn", "rolled back": "bad"}


def decision_list(decisions: Sequence[Decision]) -> Markup:
    """The newest first, as they come from the ledger."""
    items = [h("li", _decision(each), when(each.at)) for each in decisions]
    return h("div", h("ul", items, class_="list"), class_="card flush")


def _decision(each: Decision) -> Markup:
    verdict = badge(each.verdict.capitalize(), _TONES.get(each.verdict, ""))
    about = f"{each.kind} of {each.subject} · by {each.actor}"
    return h(
        "div",
        h("div", verdict),
        h("span", each.reason),
        h("span", about, class_="note"),
        class_="grow",
    )
