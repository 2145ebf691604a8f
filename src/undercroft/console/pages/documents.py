"""The list of documents: kept and removed, with the rule and the value that decided."""

from __future__ import annotations

from undercroft.console import figures
from undercroft.console.components.frame import head
from undercroft.console.components.parts import badge, empty
from undercroft.console.components.tables import Column, choices, pager, row_link, table
from undercroft.console.markup import Child, Markup, h, join
from undercroft.console.router import Address, Page
from undercroft.console.views import documents


def render(data: tuple[documents.DocumentList, Address]) -> list[Markup]:
    """The sections of the page."""
    found, at = data
    title = head("Documents", _lead(found), beside=_lineage(found))
    if found.dataset is None:
        return [title, empty("No document was collected and sorted yet.", "undercroft up FOLDER")]
    rules = _rules(found, at) if found.rules and found.state != "kept" else None
    filters = h("div", _search(found, at), _states(found, at), class_="filters")
    sections = [title, h("div", filters, rules, class_="section")]
    if not found.documents.rows:
        sections.append(_nothing(found, at))
        return sections
    return [
        *sections,
        table(COLUMNS, found.documents.rows, "Documents"),
        pager(found.documents, lambda number: at.with_query(page=number), "document"),
    ]


def _lead(found: documents.DocumentList) -> Child:
    if found.dataset is None:
        return None
    sentence = "Nothing is dropped without a reason: each removal names its rule and the value."
    if found.num_rejected:
        word = figures.plural(found.num_rejected, "file")
        sentence += f" {word} could not be read at all."
    return sentence


def _lineage(found: documents.DocumentList) -> Markup | None:
    if found.dataset is None:
        return None
    ref = str(found.dataset.ref)
    return h("a", ref, href=f"/artifacts/{ref}", class_="tag accent")


def _search(found: documents.DocumentList, at: Address) -> Markup:
    kept = {key: value for key, value in at.query.items() if key in {"state", "rule"}}
    return h(
        "form",
        [h("input", type="hidden", name=key, value=value) for key, value in kept.items()],
        h(
            "input",
            type="search",
            name="q",
            value=found.query,
            placeholder="Search titles, addresses and text",
            aria_label="Search documents",
            autocomplete="off",
        ),
        method="get",
        action=at.path,
        role="search",
    )


def _states(found: documents.DocumentList, at: Address) -> Markup:
    def to(state: str | None) -> str:
        return at.with_query(state=state, rule=None, page=None)

    total = found.num_kept + found.num_removed
    return choices(
        [
            ("All", to(None), not found.state and not found.rule, total),
            ("Kept", to("kept"), found.state == "kept", found.num_kept),
            ("Removed", to("removed"), found.state == "removed" and not found.rule,
             found.num_removed),
        ]
    )  # fmt: skip


def _rules(found: documents.DocumentList, at: Address) -> Markup:
    return choices(
        [
            (_words(rule), at.with_query(state="removed", rule=rule, page=None),
             found.rule == rule, number)
            for rule, number in found.rules
        ],
        "Rules that removed",
    )  # fmt: skip


def _nothing(found: documents.DocumentList, at: Address) -> Markup:
    again = h("a", "Show all documents", href=at.path)
    what = f"No document matches “{found.query}”. " if found.query else "No document here. "
    return empty(join(what, again))


def _words(rule: str) -> str:
    return rule.replace("_", " ")


def _title(row: documents.DocumentRow) -> Markup:
    link = row_link(f"/documents/{row.id}", row.title)
    return join(link, h("span", row.uri, class_="under clip", title=row.uri))


def _verdict(row: documents.DocumentRow) -> Markup:
    if row.kept:
        masks = figures.plural(row.num_masks, "mask") if row.num_masks else ""
        return join(badge("Kept", "good"), h("span", masks, class_="under") if masks else None)
    reason = _words(row.rule)
    return join(
        badge("Removed", "warn"),
        h("span", h("b", reason), f" {row.value}", class_="under", title=row.value),
    )


COLUMNS: tuple[Column[documents.DocumentRow], ...] = (
    Column("Document", _title, "main"),
    Column("Kept or removed, and why", _verdict),
    Column("Language", lambda row: row.language or "–", "optional"),
    Column("Characters", lambda row: figures.count(row.num_chars), "optional number"),
)

PAGE = Page(
    pattern="/documents",
    title=lambda _: "Documents",
    load=lambda project, at: (
        documents.listed(
            project,
            at.page,
            at.query.get("state", ""),
            at.query.get("rule", ""),
            at.query.get("q", "").strip(),
        ),
        at,
    ),
    render=render,
)
