"""One document: its text as the model sees it, why it was kept or removed, where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from undercroft.console import figures
from undercroft.console.components.errors import notice
from undercroft.console.components.frame import head, section
from undercroft.console.components.parts import badge, facts, when
from undercroft.console.components.prose import marked
from undercroft.console.components.tables import Column, table
from undercroft.console.markup import Child, Markup, h
from undercroft.console.router import Address, Page
from undercroft.console.views import documents

_SIGNALS = (
    ("language", "Language"),
    ("language_score", "Language score"),
    ("num_chars", "Characters"),
    ("num_words", "Words"),
    ("mean_word_length", "Mean word length"),
    ("symbol_ratio", "Symbol ratio"),
    ("duplicate_line_ratio", "Duplicate lines"),
    ("top_ngram_ratio", "Commonest 3-gram"),
    ("near_duplicate_jaccard", "Nearest copy (Jaccard)"),
    ("num_pii", "Personal data found"),
    ("num_names", "Names found"),
    ("num_secrets", "Secrets found"),
    ("num_injections", "Orders to the model found"),
    ("num_malicious", "Malicious code found"),
    ("toxicity", "Toxicity"),
    ("worst_toxicity", "Toxicity of its worst passage"),
    ("spam", "Spam"),
    ("generated", "Traces of a chat model"),
    ("semantic_cosine", "Nearest in meaning (cosine)"),
)
_COPIES = (
    ("exact_duplicate_of", "Copy of"),
    ("near_duplicate_of", "Near copy of"),
    ("same_url_as", "Another take of"),
    ("semantic_duplicate_of", "Nearest in meaning"),
)


def render(data: tuple[documents.DocumentPage, Address]) -> list[Markup]:
    """The sections of the page."""
    page, at = data
    return [
        head(page.title or page.uri or page.id, h("code", page.uri) if page.uri else None,
             (("/documents", "Documents"),), _state(page)),
        *_removal(page),
        h("div", _text(page, at), h("div", _signals(page), _origin(page), _findings(page),
                                    class_="page"), class_="columns wide-left"),
    ]  # fmt: skip


def _state(page: documents.DocumentPage) -> Markup:
    if page.kept is None:
        return badge("Not in the dataset")
    return badge("Kept", "good") if page.kept else badge("Removed", "warn")


def _removal(page: documents.DocumentPage) -> list[Markup]:
    if page.origin.get("status") == "rejected":
        reason = str(page.origin.get("reason") or "")
        return [notice("This file could not be read.", reason)]
    if page.kept is not False:
        return []
    rule = page.rule.replace("_", " ")
    return [
        h(
            "div",
            h("span", "Removed by the rule ", h("b", rule), class_="lead"),
            h("span", page.value, class_="lead") if page.value else None,
            class_="card",
        )
    ]


def _text(page: documents.DocumentPage, at: Address) -> Markup:
    cut = page.text_length > len(page.text)
    note = None
    if cut:
        until = page.text_from + len(page.text)
        note = h(
            "p",
            f"Characters {figures.count(page.text_from)}–{figures.count(until)} of "
            f"{figures.count(page.text_length)}. ",
            h("a", "Show all of it", href=at.with_query(whole=1)),
            class_="note",
        )
    masks = figures.plural(len(page.masks), "mask") + " applied" if page.masks else ""
    content = h("p", "There is no text: it was never extracted, or was erased.", class_="note")
    if page.text:
        content = h("div", marked(page.text, page.start, page.end), class_="document")
    return section("Text", h("div", content, class_="card"), note, h("p", masks, class_="note"))


def _signals(page: documents.DocumentPage) -> Markup:
    rows: list[tuple[str, Child]] = [
        (title, _number(page.signals.get(key))) for key, title in _SIGNALS
    ]
    for key, title in _COPIES:
        other = page.signals.get(key)
        rows.append((title, h("a", other, href=f"/documents/{other}") if other else None))
    rows.append(("Purposes", ", ".join(page.signals.get("purposes") or ()) or None))
    rows.append(("Chunks in the index", figures.count(page.num_chunks)))
    return section("Signals", h("div", facts(rows), class_="card"))


def _origin(page: documents.DocumentPage) -> Markup:
    origin = page.origin
    dataset = str(page.dataset.ref) if page.dataset else ""
    rows: list[tuple[str, Child]] = [
        ("Id", h("code", page.id)),
        ("Source", origin.get("source")),
        ("Collected", when(origin["fetched_at"]) if origin.get("fetched_at") else None),
        ("Licence", origin.get("licence")),
        ("Consent", origin.get("consent")),
        ("Size", figures.size(origin["size_bytes"]) if origin.get("size_bytes") else None),
        ("Dataset", h("a", dataset, href=f"/artifacts/{dataset}") if dataset else None),
        ("What came of it", h("a", "Lineage", href=f"/lineage/document:{page.id}")),
    ]
    return section("Origin", h("div", facts(rows), class_="card"))


def _findings(page: documents.DocumentPage) -> Markup | None:
    if not page.findings:
        return None
    columns = (
        Column[Mapping[str, Any]]("Kind", lambda row: row["kind"]),
        Column[Mapping[str, Any]]("Rule", lambda row: row["rule"]),
        Column[Mapping[str, Any]](
            "Where", lambda row: f"{figures.count(row['start'])}–{figures.count(row['end'])}",
            "number"),
    )  # fmt: skip
    return section("Findings", table(columns, list(page.findings)[:100], "Findings"))


def _number(value: Any) -> Child:
    if isinstance(value, float):
        return figures.ratio(value)
    return figures.count(value) if isinstance(value, int) else value


def _load(project: Any, at: Address) -> tuple[documents.DocumentPage, Address]:
    start, end = (int(at.query[key]) if at.query.get(key, "").isdecimal() else 0
                  for key in ("start", "end"))  # fmt: skip
    whole = at.query.get("whole") == "1"
    return documents.one(project, at.values["id"], start, end, whole), at


PAGE = Page(
    pattern="/documents/{id}",
    title=lambda data: data[0].title or data[0].id,
    load=_load,
    render=render,
)
